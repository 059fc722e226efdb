"""One step of a layer on bits, written out as ARM assembly, and the intrinsic of it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cache

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

WORDS_OF_A_REGISTER = 4
SUMS_OF_A_REGISTER = 8
_VECTOR = "<8 x i16>"


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
    def span(self) -> int:
        """Count the pixels of a row from the first that it reads to the last."""
        return self.place(self.positions - 1, self.pixels - 1) + 1

    @property
    def weights(self) -> int:
        """Count the registers of weights of a position."""
        return self.outputs * self.depth // WORDS_OF_A_REGISTER

    @property
    def words_of_weights(self) -> int:
        """Count the words from the weights of one position to those of the next."""
        return self.runs * self.outputs * self.depth

    @property
    def sums(self) -> int:
        """Count the registers of sums."""
        return self.pixels * self.sums_of_a_pixel

    @property
    def sums_of_a_pixel(self) -> int:
        """Count the registers of sums of one pixel."""
        return self.outputs // SUMS_OF_A_REGISTER

    @property
    def fills_register(self) -> bool:
        """Tell whether a run fills a register; others are repeated."""
        return self.depth == WORDS_OF_A_REGISTER

    def place(self, position: int, pixel: int) -> int:
        """Count the pixels of a row before the one at a position of a window."""
        return self.every * pixel + self.dilation * position

    @property
    def places(self) -> list[int]:
        """List the places of all pixels that it reads."""
        return sorted({self.place(k, p) for k in range(self.positions) for p in range(self.pixels)})


@dataclass(frozen=True)
class Code:
    """A step in assembly.

    Its operands are numbered: sums if it keeps them, what is `moved`, the same again, `operands`.

    Attributes
    ----------
    lines : tuple of str
    places : tuple of int
        Pixels whose addresses it takes, ``%pixel0`` and so on.
    keeps_sums : bool
        Whether sums are in registers; else in memory, at ``%at0`` and so on.
    moved, operands : tuple of str
        Operands that it changes, and others, in LLVM's language.
    overwritten : tuple of str
        Registers, beside those of the operands.
    """

    lines: tuple[str, ...]
    places: tuple[int, ...]
    keeps_sums: bool
    moved: tuple[str, ...]
    operands: tuple[str, ...]
    overwritten: tuple[str, ...]


def _llvm(step: Step, code: Code) -> str:
    """Define the function of a step in LLVM's language."""
    kept = step.sums if code.keeps_sums else 0
    result = f"{{ {', '.join([_VECTOR] * kept + ['ptr'] * len(code.moved))} }}"
    sums = "".join(_find_sum(step, number) for number in range(step.sums))
    loads = "".join(_load_sum(number) for number in range(kept))
    stores = "".join(_store_sum(result, number) for number in range(kept))
    text = r"\0A".join(r"\09" + line for line in code.lines)
    operands = ", ".join(
        [*(f"{_VECTOR} %sum{i}" for i in range(kept)), *code.moved, *code.operands]
    )
    return (
        f"define linkonce_odr i32 @{_name(step)}(ptr %total, i64 %stride, ptr %pixel, ptr %weight)"
        f" alwaysinline nounwind {{\n{sums}{loads}{_addresses(step, code)}"
        f'%new = call {result} asm sideeffect "{text}", "{_constraints(code, kept)}"'
        f"({operands}) noduplicate\n{stores}ret i32 0\n}}\n"
    )


def _name(step: Step) -> str:
    return "bnn_count_" + "_".join(str(number) for number in astuple(step))


def _find_sum(step: Step, number: int) -> str:
    pixel, part = divmod(number, step.sums_of_a_pixel)
    return (
        f"%row{number} = mul i64 %stride, {pixel}\n"
        f"%place{number} = add i64 %row{number}, {part * SUMS_OF_A_REGISTER}\n"
        f"%at{number} = getelementptr i16, ptr %total, i64 %place{number}\n"
    )


def _load_sum(number: int) -> str:
    return f"%sum{number} = load {_VECTOR}, ptr %at{number}, align 2\n"


def _store_sum(result: str, number: int) -> str:
    return (
        f"%new{number} = extractvalue {result} %new, {number}\n"
        f"store {_VECTOR} %new{number}, ptr %at{number}, align 2\n"
    )


def _addresses(step: Step, code: Code) -> str:
    """Compute the addresses of pixels, and of the weights of each position of the window."""
    pixels = (
        f"%pixel{i} = getelementptr i32, ptr %pixel, i64 {step.words * i}\n" for i in code.places
    )
    weights = (
        f"%weight{i} = getelementptr i32, ptr %weight, i64 {step.words_of_weights * i}\n"
        for i in range(step.positions)
    )
    return "".join((*pixels, *weights))


def _constraints(code: Code, sums: int) -> str:
    outputs = ["=w"] * sums + ["=r"] * len(code.moved)
    tied = [str(number) for number in range(len(outputs))]
    overwritten = [f"~{{{register}}}" for register in code.overwritten]
    inputs = ["r"] * len(code.operands)
    return ",".join([*outputs, *tied, *inputs, *overwritten, "~{memory}"])


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


def _call(step: Step, code: Code) -> tirx.PrimFunc:
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
            with T.attr(0, "pragma_import_llvm", _llvm(step, code)):
                T.evaluate(
                    T.call_extern(
                        "int32",
                        _name(step),
                        total.access_ptr("rw"),
                        T.Cast("int64", ts),
                        pixel.access_ptr("r"),
                        weight.access_ptr("r"),
                    )
                )

    return count_tile


@cache
def count_step(step: Step, code: Code) -> str:
    """Name the intrinsic of a step."""
    name = f"bnn.arm.{_name(step)}_{len(code.overwritten)}"
    TensorIntrin.register(name, _describe(step), _call(step, code))
    return name
