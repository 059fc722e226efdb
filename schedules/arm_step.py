"""One step of a layer on bits, written out as ARM assembly, and the intrinsic of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cache

from tvm import tirx
from tvm.script import tirx as T

from .arm_code import PIXEL, WEIGHT, Address, Code, Loops, Sums, register_code

WORDS_OF_A_REGISTER = 4
SUMS_OF_A_REGISTER = 8


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
    def sums(self) -> Sums:
        """Say where the sums are."""
        registers = self.outputs // SUMS_OF_A_REGISTER
        return Sums(self.pixels, registers, "i16", SUMS_OF_A_REGISTER, neighbours=True)

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

    def addresses(self, places: Sequence[int]) -> tuple[Address, ...]:
        """Name the addresses of pixels, ``pixel0`` and so on, and of the weights of positions."""
        pixels = (Address(f"{PIXEL}{i}", PIXEL, 4 * self.words * i) for i in places)
        forward = 4 * self.words_of_weights
        weights = (Address(f"{WEIGHT}{i}", WEIGHT, forward * i) for i in range(self.positions))
        return (*pixels, *weights)


def _describe(step: Step) -> tirx.PrimFunc:
    """Say what a step adds to the sums of a tile."""
    loops = Loops(
        {"K": step.positions, "p": step.pixels, "o": step.outputs, "W": step.depth}, "poKW"
    )
    at = loops.at

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
            for turns in T.grid(*loops.turns):
                with T.sblock("count"):
                    axes = list(T.axis.remap(loops.kinds, loops.in_block_order(turns)))
                    total[at("p", axes), 0, at("o", axes)] = total[
                        at("p", axes), 0, at("o", axes)
                    ] + T.Cast(
                        "uint16",
                        T.popcount(
                            T.bitwise_xor(
                                pixel[
                                    at("p", axes) * step.every + at("K", axes) * step.dilation,
                                    at("W", axes),
                                ],
                                weight[at("K", axes), 0, at("o", axes), at("W", axes)],
                            )
                        ),
                    )

    return describe


@cache
def count_step(step: Step, code: Code) -> str:
    """Name the intrinsic of a step."""
    numbers = "_".join(str(number) for number in (*astuple(step), len(code.overwritten)))
    return register_code(f"bnn_count_{numbers}", _describe(step), code)
