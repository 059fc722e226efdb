"""Counts bits for a tile of pixels on 64-bit ARM processors that execute in order.

LLVM's order of instructions for these takes more registers than there are, so that sums go to the
stack and back. Here one step of the reduction is written out for all pixels of a tile: each takes
the runs of eight outputs as `arm_intrinsics` does, and while the sums of one pixel wait for each
other, the next one is compared.
"""

from __future__ import annotations

from .arm_code import Code
from .arm_order import Operation, in_order
from .arm_step import WORDS_OF_A_REGISTER, Step

_REGISTERS = 32
# Cycles of LLVM's model of a Cortex-A53, in which loads end no sooner than what began before.
_ARITHMETIC_LATENCY = 6
_LOAD_LATENCY = 6
# Registers that hold pixels.
_PIXELS_AT_ONCE = 2
# Registers of bits that are being counted, with fewer of which a step would wait too often.
_LEAST_BITS = 6
# Registers of addresses that a step may take.
_MOST_ADDRESSES = 20
# How far from an address a load reaches, in bytes.
_REACH_OF_LOAD, _REACH_OF_PAIR = 1 << 16, 1 << 10
# Names of values, and so of their pools.
_PIXEL, _BITS = "pixel", "bits"


def write_step(step: Step) -> Code | None:
    """Write a step in the assembly of 64-bit ARM; None if registers or the reach of loads end."""
    first, last = step.weights + _PIXELS_AT_ONCE, _REGISTERS - step.sums.count
    places = (0,) if step.fills_register else tuple(step.places)
    reached = 4 * step.words * step.span < _REACH_OF_LOAD and len(places) <= _MOST_ADDRESSES
    if not (reached and step.every > 0 and step.pixels > 1 and last - first >= _LEAST_BITS):
        return None
    # Weights are in the first registers.
    pools = {
        _PIXEL: [str(r) for r in range(step.weights, first)],
        _BITS: [str(r) for r in range(first, last)],
    }
    return Code(
        lines=tuple(in_order(_operations(step), pools)),
        sums=step.sums,
        keeps_sums=True,
        addresses=step.addresses(places),
        moved=(),
        operands=(
            *(f"ptr %pixel{place}" for place in places),
            *(f"ptr %weight{position}" for position in range(step.positions)),
        ),
        overwritten=tuple(f"v{r}" for r in range(last)),
    )


def _address_operand(step: Step, place: int) -> str:
    """Name the address that a pixel is loaded from: with an offset, that of the first."""
    number = 0 if step.fills_register else step.places.index(place)
    return f"${2 * step.sums.count + number}"


def _weight_operand(step: Step, position: int) -> str:
    addresses = 1 if step.fills_register else len(step.places)
    return f"${2 * step.sums.count + addresses + position}"


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
            for index in range(step.sums.registers):
                operations += _add_to_sum(step, position, pixel, index)
    return operations


def _load_weights(step: Step, position: int) -> list[Operation]:
    address = _weight_operand(step, position)
    return [
        _load(f"ldp q{i}, q{i + 1}, [{address}, #{16 * i}]", (), (f"w{i}", f"w{i + 1}"))
        for i in range(0, step.weights, 2)
    ]


def _pixel_name(position: int, pixel: int) -> str:
    return f"{_PIXEL}{position}_{pixel}"


def _load_pixel(step: Step, position: int, pixel: int) -> list[Operation]:
    """Load a pixel's run, repeated until it fills a register; two at once if neighbours."""
    name, place = _pixel_name(position, pixel), step.place(position, pixel)
    address, offset = _address_operand(step, place), 4 * step.words * place
    if not step.fills_register:
        lanes = {1: "4s", 2: "2d"}[step.depth]
        return [_load(f"ld1r {{{{v{{{name}}}.{lanes}}}}}, [{address}]", (), (name,))]
    paired = step.words * step.every == WORDS_OF_A_REGISTER and offset < _REACH_OF_PAIR
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
    number = pixel * step.sums.registers + index
    add = f"uadalp ${number}.8h, v{{{names[0]}}}.16b"
    return [*operations, _vector(add, (names[0],), (f"sum{number}",))]
