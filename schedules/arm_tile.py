"""Counts bits for a tile of pixels on 64-bit ARM processors that execute in order.

LLVM's order of instructions for these takes more registers than there are, so that sums go to the
stack and back. Here one step of the reduction is written out for all pixels of a tile: each takes
the runs of eight outputs as `arm_intrinsics` does, and while the sums of one pixel wait for each
other, the next one is compared.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cache

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

from .arm_order import Operation, in_order

_REGISTERS = 32
_WORDS_OF_A_REGISTER = 4
_SUMS_OF_A_REGISTER = 8
# Cycles of LLVM's model of a Cortex-A53.
_ARITHMETIC_LATENCY = 6
_LOAD_LATENCY = 6
# Registers that hold pixels.
_PIXELS_AT_ONCE = 2
# Registers of bits that are being counted, with fewer of which a step would wait too often.
_LEAST_BITS = 6
# Registers of addresses that a step may take.
_MOST_ADDRESSES = 20
_VECTOR = "<8 x i16>"
# How far from an address a load reaches, in bytes.
_REACH_OF_LOAD, _REACH_OF_PAIR = 1 << 16, 1 << 10
# Names of values, and so of their pools.
_PIXEL, _BITS = "pixel", "bits"


@dataclass(frozen=True)
class Step:
    """One step of the reduction for a tile: neighbouring positions of a window.

    Attributes
    ----------
    positions : int
        Of the window, in a row.
    pixels : int
        Of the tile.
    outputs : int
        Of a block; sums of each pixel are neighbours.
    depth : int
        Words of a run: 1, 2 or 4.
    runs : int
        Of a position.
    words : int
        Of a pixel.
    every : int
        Pixels from one of the tile to the next.
    dilation : int
        Pixels from one position of the window to the next.
    """

    positions: int
    pixels: int
    outputs: int
    depth: int
    runs: int
    words: int
    every: int
    dilation: int

    @property
    def fits(self) -> bool:
        """Tell whether there are registers for it and loads reach all pixels."""
        bits = _REGISTERS - self.sums - self.weights - _PIXELS_AT_ONCE
        far = 4 * self.words * self.span
        reached = (
            far < _REACH_OF_LOAD if self.has_offsets else len(self.addresses) <= _MOST_ADDRESSES
        )
        return self.every > 0 and self.pixels > 1 and bits >= _LEAST_BITS and reached

    @property
    def span(self) -> int:
        """Count the pixels of a row from the first that it reads to the last."""
        return (self.pixels - 1) * self.every + (self.positions - 1) * self.dilation + 1

    @property
    def weights(self) -> int:
        """Count the registers of weights."""
        return self.outputs * self.depth // _WORDS_OF_A_REGISTER

    @property
    def sums(self) -> int:
        """Count the registers of sums."""
        return self.pixels * self.sums_of_a_pixel

    @property
    def sums_of_a_pixel(self) -> int:
        """Count the registers of sums of one pixel."""
        return self.outputs // _SUMS_OF_A_REGISTER

    @property
    def name(self) -> str:
        """Name the function that does it."""
        return "bnn_count_" + "_".join(str(number) for number in astuple(self))

    @property
    def has_offsets(self) -> bool:
        """Tell whether loads of pixels take an offset: those that repeat a run do not."""
        return self.depth == _WORDS_OF_A_REGISTER

    def place(self, position: int, pixel: int) -> int:
        """Count the pixels of a row before the one at a position of a window."""
        return self.every * pixel + self.dilation * position

    @property
    def addresses(self) -> list[int]:
        """List the places whose addresses loads start from."""
        if self.has_offsets:
            return [0]
        return sorted({self.place(k, p) for k in range(self.positions) for p in range(self.pixels)})

    # Operands of the assembly: sums, the same as inputs, then addresses of pixels and of weights.

    def address_operand(self, place: int) -> str:
        """Name the address that a pixel is loaded from."""
        return f"${2 * self.sums + self.addresses.index(0 if self.has_offsets else place)}"

    def weight_operand(self, position: int) -> str:
        """Name the address of the weights of a position of the window."""
        return f"${2 * self.sums + len(self.addresses) + position}"


def _vector(text: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Operation:
    return Operation(text, reads, writes, _ARITHMETIC_LATENCY, "vector")


def _load(text: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Operation:
    return Operation(text, reads, writes, _LOAD_LATENCY, "memory")


def _operations(step: Step) -> list[Operation]:
    """List what a step is, pixel by pixel."""
    operations = []
    for position in range(step.positions):
        operations += _load_weights(step, position)
        for pixel in range(step.pixels):
            operations += _load_pixel(step, position, pixel)
            for index in range(step.sums_of_a_pixel):
                operations += _add_to_sum(step, position, pixel, index)
    return operations


def _load_weights(step: Step, position: int) -> list[Operation]:
    address = step.weight_operand(position)
    return [
        _load(f"ldp q{i}, q{i + 1}, [{address}, #{16 * i}]", (), (f"w{i}", f"w{i + 1}"))
        for i in range(0, step.weights, 2)
    ]


def _pixel_name(position: int, pixel: int) -> str:
    return f"{_PIXEL}{position}_{pixel}"


def _load_pixel(step: Step, position: int, pixel: int) -> list[Operation]:
    """Load a pixel's run, repeated until it fills a register; two at once if neighbours."""
    name, place = _pixel_name(position, pixel), step.place(position, pixel)
    address, offset = step.address_operand(place), 4 * step.words * place
    if not step.has_offsets:
        lanes = {1: "4s", 2: "2d"}[step.depth]
        return [_load(f"ld1r {{{{v{{{name}}}.{lanes}}}}}, [{address}]", (), (name,))]
    paired = step.words * step.every == _WORDS_OF_A_REGISTER and offset < _REACH_OF_PAIR
    if paired and pixel % 2:
        return []
    if paired and pixel + 1 < step.pixels:
        other = _pixel_name(position, pixel + 1)
        text = f"ldp q{{{name}}}, q{{{other}}}, [{address}, #{offset}]"
        return [_load(text, (), (name, other))]
    return [_load(f"ldr q{{{name}}}, [{address}, #{offset}]", (), (name,))]


def _add_to_sum(step: Step, position: int, pixel: int, index: int) -> list[Operation]:
    """Count the bits of eight outputs and add them to their sums."""
    registers = 2 * step.depth
    weights = range(index * registers, (index + 1) * registers)
    names = [f"{_BITS}{position}_{pixel}_{weight}" for weight in weights]
    operations = []
    for weight, name in zip(weights, names, strict=True):
        source = _pixel_name(position, pixel)
        compare = f"eor v{{{name}}}.16b, v{{{source}}}.16b, v{weight}.16b"
        operations.append(_vector(compare, (source, f"w{weight}"), (name,)))
    for name in names:
        operations.append(_vector(f"cnt v{{{name}}}.16b, v{{{name}}}.16b", (name,), (name,)))
    while len(names) > 1:
        for first, second in zip(names[::2], names[1::2], strict=True):
            add = f"addp v{{{first}}}.16b, v{{{first}}}.16b, v{{{second}}}.16b"
            operations.append(_vector(add, (first, second), (first,)))
        names = names[::2]
    number = pixel * step.sums_of_a_pixel + index
    add = f"uadalp ${number}.8h, v{{{names[0]}}}.16b"
    return [*operations, _vector(add, (names[0],), (f"sum{number}",))]


def _assembly(step: Step) -> str:
    """Write a step, with weights in the first registers, then pixels and bits."""
    first, last = step.weights + _PIXELS_AT_ONCE, _REGISTERS - step.sums
    pools = {
        _PIXEL: [str(r) for r in range(step.weights, first)],
        _BITS: [str(r) for r in range(first, last)],
    }
    return r"\0A".join(r"\09" + line for line in in_order(_operations(step), pools))


def _llvm(step: Step) -> str:
    """Define the function of a step in LLVM's language."""
    result = ", ".join([_VECTOR] * step.sums)
    sums = "".join(_load_sum(step, number) for number in range(step.sums))
    stores = "".join(_store_sum(result, number) for number in range(step.sums))
    return (
        f"define linkonce_odr i32 @{step.name}(ptr %total, i64 %stride, ptr %pixel, ptr %weight)"
        f" alwaysinline nounwind {{\n{sums}{_addresses(step)}"
        f'%new = call {{ {result} }} asm sideeffect "{_assembly(step)}", "{_constraints(step)}"'
        f"({_operands(step)}) noduplicate\n{stores}ret i32 0\n}}\n"
    )


def _load_sum(step: Step, number: int) -> str:
    pixel, part = divmod(number, step.sums_of_a_pixel)
    return (
        f"%row{number} = mul i64 %stride, {pixel}\n"
        f"%place{number} = add i64 %row{number}, {part * _SUMS_OF_A_REGISTER}\n"
        f"%at{number} = getelementptr i16, ptr %total, i64 %place{number}\n"
        f"%sum{number} = load {_VECTOR}, ptr %at{number}, align 2\n"
    )


def _store_sum(result: str, number: int) -> str:
    return (
        f"%new{number} = extractvalue {{ {result} }} %new, {number}\n"
        f"store {_VECTOR} %new{number}, ptr %at{number}, align 2\n"
    )


def _addresses(step: Step) -> str:
    """Compute the addresses of pixels, and of the weights of each position of the window."""
    weights = step.runs * step.outputs * step.depth
    pixels = (
        f"%pixel{i} = getelementptr i32, ptr %pixel, i64 {step.words * i}\n" for i in step.addresses
    )
    positions = (
        f"%weight{i} = getelementptr i32, ptr %weight, i64 {weights * i}\n"
        for i in range(step.positions)
    )
    return "".join((*pixels, *positions))


def _operands(step: Step) -> str:
    operands = [f"{_VECTOR} %sum{i}" for i in range(step.sums)]
    operands += [f"ptr %pixel{i}" for i in step.addresses]
    operands += [f"ptr %weight{i}" for i in range(step.positions)]
    return ", ".join(operands)


def _constraints(step: Step) -> str:
    tied = [str(number) for number in range(step.sums)]
    inputs = ["r"] * (len(step.addresses) + step.positions)
    overwritten = [f"~{{v{r}}}" for r in range(_REGISTERS - step.sums)]
    return ",".join(["=w"] * step.sums + [*tied, *inputs, *overwritten, "~{memory}"])


def _describe(step: Step) -> tirx.PrimFunc:
    """Say what a step adds to the sums of a tile; there are no loops of one turn."""
    loops = {"k": step.positions, "p": step.pixels, "o": step.outputs, "w": step.depth}
    turning = [name for name, extent in loops.items() if extent > 1]
    # A block names what is summed last.
    axes_of_block = [name for name in "pokw" if name in turning]
    kinds = "".join("S" if name in "po" else "R" for name in axes_of_block)

    extents = [loops[name] for name in turning]

    def in_block_order(turns: list[tirx.Var]) -> list[tirx.Var]:
        return [turns[turning.index(name)] for name in axes_of_block]

    def at(name: str, axes: list[tirx.Var]) -> tirx.Expr:
        """Give the index of a loop; 0 where there is none."""
        return axes[axes_of_block.index(name)] if name in turning else T.int32(0)

    @T.prim_func(s_tir=True)
    def describe(pixel_: T.handle, weight_: T.handle, total_: T.handle) -> None:
        ps, ws, wr, ts, tb = T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
        pixel = T.match_buffer(
            pixel_, (step.span, step.depth), "uint32", strides=[ps, 1], offset_factor=1
        )
        weight = T.match_buffer(
            weight_,
            (step.positions, 1, step.outputs, step.depth),
            "uint32",
            strides=[ws, wr, step.depth, 1],
            offset_factor=1,
        )
        total = T.match_buffer(
            total_, (step.pixels, 1, step.outputs), "uint16", strides=[ts, tb, 1], offset_factor=1
        )
        with T.sblock("root"):
            T.reads(
                total[0 : step.pixels, 0, 0 : step.outputs],
                pixel[0 : step.span, 0 : step.depth],
                weight[0 : step.positions, 0, 0 : step.outputs, 0 : step.depth],
            )
            T.writes(total[0 : step.pixels, 0, 0 : step.outputs])
            for turns in T.grid(*extents):
                with T.sblock("count"):
                    axes = list(T.axis.remap(kinds, in_block_order(turns)))
                    total[at("p", axes), 0, at("o", axes)] = total[
                        at("p", axes), 0, at("o", axes)
                    ] + T.Cast(
                        "uint16",
                        T.popcount(
                            T.bitwise_xor(
                                pixel[
                                    at("p", axes) * step.every + at("k", axes) * step.dilation,
                                    at("w", axes),
                                ],
                                weight[at("k", axes), 0, at("o", axes), at("w", axes)],
                            )
                        ),
                    )

    return describe


def _call(step: Step) -> tirx.PrimFunc:
    @T.prim_func(s_tir=True)
    def count_tile(pixel_: T.handle, weight_: T.handle, total_: T.handle) -> None:
        ps, ws, wr, ts, tb = T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
        pixel = T.match_buffer(
            pixel_, (step.span, step.depth), "uint32", strides=[ps, 1], offset_factor=1
        )
        weight = T.match_buffer(
            weight_,
            (step.positions, 1, step.outputs, step.depth),
            "uint32",
            strides=[ws, wr, step.depth, 1],
            offset_factor=1,
        )
        total = T.match_buffer(
            total_, (step.pixels, 1, step.outputs), "uint16", strides=[ts, tb, 1], offset_factor=1
        )
        with T.sblock("root"):
            T.reads(
                total[0 : step.pixels, 0, 0 : step.outputs],
                pixel[0 : step.span, 0 : step.depth],
                weight[0 : step.positions, 0, 0 : step.outputs, 0 : step.depth],
            )
            T.writes(total[0 : step.pixels, 0, 0 : step.outputs])
            with T.attr(0, "pragma_import_llvm", _llvm(step)):
                T.evaluate(
                    T.call_extern(
                        "int32",
                        step.name,
                        total.access_ptr("rw"),
                        T.Cast("int64", ts),
                        pixel.access_ptr("r"),
                        weight.access_ptr("r"),
                    )
                )

    return count_tile


@cache
def count_step(step: Step) -> str:
    """Name the intrinsic of a step."""
    name = f"bnn.aarch64.{step.name}"
    TensorIntrin.register(name, _describe(step), _call(step))
    return name
