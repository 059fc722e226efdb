"""Counts bits for a tile of pixels on 32-bit ARM processors with NEON.

Neighbouring bytes are added by halves of registers, in twice the instructions of 64-bit ARM. So the
counts of an output are first added by bytes over the positions of a row of the window, and then
share one tree of additions. Sixteen registers are too few for sums beside that, which stay in
memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .arm_code import Code
from .arm_order import Operation, in_order
from .arm_step import Step

_REGISTERS = 16
# Cycles of a Cortex-A7, about.
_ARITHMETIC_LATENCY = 4
_LOAD_LATENCY = 4
# Positions whose counts fit a byte with those of eight bytes: 3 * 8 * 8 bits.
_MOST_POSITIONS = 3
# Registers of weights that one load fills.
_WEIGHTS_AT_ONCE = 2
_PIXEL, _WEIGHT, _BITS = "pixel", "weight", "bits"


@dataclass(frozen=True)
class _Quad:
    """A register of 128 bits, and its halves."""

    number: int

    def __str__(self) -> str:
        return f"q{self.number}"

    @property
    def low(self) -> str:
        return f"d{2 * self.number}"

    @property
    def high(self) -> str:
        return f"d{2 * self.number + 1}"


@dataclass(frozen=True)
class _Pair:
    """Two neighbouring registers."""

    first: _Quad
    second: _Quad


def write_step(step: Step) -> Code | None:
    """Write a step in the assembly of 32-bit ARM; None if registers do not suffice."""
    pixels = len(step.places)
    first = pixels + _WEIGHTS_AT_ONCE
    if step.positions > _MOST_POSITIONS or _REGISTERS - first < _bits_at_once(step):
        return None
    pools: dict[str, Sequence[object]] = {
        _PIXEL: [_Quad(r) for r in range(pixels)],
        _WEIGHT: [_Pair(_Quad(pixels), _Quad(pixels + 1))],
        _BITS: [_Quad(r) for r in range(first, _REGISTERS)],
    }
    forward = 4 * step.words_of_weights
    return Code(
        lines=tuple(in_order(_operations(step), pools)),
        sums=step.sums,
        keeps_sums=False,
        addresses=step.addresses(step.places),
        moved=("ptr %weight0", *(f"ptr %at{p * step.sums.registers}" for p in range(step.pixels))),
        operands=(
            *(f"ptr %pixel{place}" for place in step.places),
            f"i32 {forward}",
            f"i32 {16 * _WEIGHTS_AT_ONCE - (step.positions - 1) * forward}",
        ),
        overwritten=tuple(f"q{r}" for r in range(_REGISTERS)),
    )


def _bits_at_once(step: Step) -> int:
    """Count the registers of bits that are being counted, of all pixels and one on its way."""
    levels = (2 * step.depth).bit_length()
    return step.pixels * levels + 1


def _operand(step: Step, number: int) -> str:
    """Name an operand behind the addresses of weights and sums."""
    return f"${2 * (1 + step.pixels) + number}"


def _vector(text: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Operation:
    return Operation(text, reads, writes, _ARITHMETIC_LATENCY, "vector")


def _load(text: str, reads: tuple[str, ...], writes: tuple[str, ...]) -> Operation:
    return Operation(text, reads, writes, _LOAD_LATENCY, "memory")


def _operations(step: Step) -> list[Operation]:
    operations = [load for place in step.places for load in _load_pixel(step, place)]
    trees: list[list[str]] = [[] for _ in range(step.pixels)]
    for first in range(0, step.weights, _WEIGHTS_AT_ONCE):
        operations += _count_bits(step, first)
        for weight in range(first, first + _WEIGHTS_AT_ONCE):
            for pixel, tree in enumerate(trees):
                tree.append(_bits(pixel, weight))
                operations += _add_up(tree, weight % (2 * step.depth) + 1)
                if (weight + 1) % (2 * step.depth) == 0:
                    operations += _add_to_sum(pixel, weight, tree.pop())
    return operations


def _load_pixel(step: Step, place: int) -> list[Operation]:
    """Load a pixel's run, repeated until it fills a register."""
    name, address = f"{_PIXEL}{place}", _operand(step, step.places.index(place))
    low, high = f"{{{name}.low}}", f"{{{name}.high}}"
    if step.depth == 1:
        return [_load(f"vld1.32 {{{{{low}[], {high}[]}}}}, [{address}]", (), (name,))]
    if step.fills_register:
        return [_load(f"vld1.32 {{{{{low}, {high}}}}}, [{address}]", (), (name,))]
    load = _load(f"vld1.32 {{{{{low}}}}}, [{address}]", (), (name,))
    return [load, _vector(f"vmov {high}, {low}", (name,), (name,))]


def _bits(pixel: int, weight: int) -> str:
    return f"{_BITS}{pixel}_{weight}"


def _count_bits(step: Step, first: int) -> list[Operation]:
    """Count for all pixels what differs from a pair of registers of weights of each position."""
    operations = []
    for position in range(step.positions):
        is_last = position == step.positions - 1
        loaded = f"{_WEIGHT}{first}_{position}"
        operations.append(_load_weights(step, loaded, is_last))
        for pixel in range(step.pixels):
            source = f"{_PIXEL}{step.place(position, pixel)}"
            for number, register in enumerate(("first", "second")):
                total = _bits(pixel, first + number)
                bits = f"{total}_{position}" if position else total
                compare = f"veor {{{bits}}}, {{{source}}}, {{{loaded}.{register}}}"
                operations += [
                    _vector(compare, (source, loaded), (bits,)),
                    _vector(f"vcnt.8 {{{bits}}}, {{{bits}}}", (bits,), (bits,)),
                ]
                if position:
                    add = f"vadd.i8 {{{total}}}, {{{total}}}, {{{bits}}}"
                    operations.append(_vector(add, (total, bits), (total,)))
    return operations


def _load_weights(step: Step, name: str, is_last: bool) -> Operation:
    """Load a pair of registers and move on: to the next position, or to the next pair."""
    move = _operand(step, len(step.places) + is_last)
    both = f"{{{{{{{name}.first.low}}-{{{name}.second.high}}}}}}"
    return _load(f"vld1.32 {both}, [$0], {move}", ("address",), (name, "address"))


def _add_up(tree: list[str], counted: int) -> list[Operation]:
    """Add neighbouring bytes of the last two registers of a tree, while two are of a level."""
    operations = []
    while counted % 2 == 0:
        second, first = tree.pop(), tree[-1]
        low, high = f"{{{first}.low}}", f"{{{first}.high}}"
        operations += [
            _vector(f"vpadd.i8 {low}, {low}, {high}", (first,), (first,)),
            _vector(f"vpadd.i8 {high}, {{{second}.low}}, {{{second}.high}}", (second,), (first,)),
        ]
        counted //= 2
    return operations


def _add_to_sum(pixel: int, weight: int, tree: str) -> list[Operation]:
    """Add the counts of eight outputs to their sums in memory, and move on to the next eight."""
    total, address = f"{_BITS}{pixel}_{weight}_sum", f"${1 + pixel}"
    both = f"{{{{{{{total}.low}}, {{{total}.high}}}}}}"
    return [
        _load(f"vld1.16 {both}, [{address}]", (address,), (total,)),
        _vector(f"vpadal.u8 {{{total}}}, {{{tree}}}", (tree,), (total,)),
        _load(f"vst1.16 {both}, [{address}]!", (total,), (address,)),
    ]
