"""A run of products that a layer on floats sums, and the intrinsic of it on ARM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tvm import tirx
from tvm.script import tirx as T

from .arm_code import Code, Loops, Sums, register_code

LANES = 4
"""Floats of a register."""


@dataclass(frozen=True)
class Loop:
    """A loop over what is summed, or over pixels.

    Attributes
    ----------
    extent : int
    moves : tuple of int
        How far a turn of it goes along each axis of the data.
    """

    extent: int
    moves: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """The innermost loops of the reduction for a tile.

    Attributes
    ----------
    vectors : int
        Of the tile, of four outputs each.
    pixels : Loop
        Of the tile.
    rows, steps : Loop
        Over what is summed. The weights of neighbouring steps, and rows, are neighbours.
    weight_axes : str
        What moves along each axis of the weights: ``v`` vectors, ``R`` rows, ``S`` steps, ``o``
        outputs of a vector, or ``-`` nothing.
    data_strides, weight_strides : tuple of int
        Floats from one element to the next along each axis.
    """

    vectors: int
    pixels: Loop
    rows: Loop
    steps: Loop
    weight_axes: str
    data_strides: tuple[int, ...]
    weight_strides: tuple[int, ...]

    @property
    def sums(self) -> Sums:
        """Say where the sums are."""
        return Sums(self.pixels.extent, self.vectors, "float", LANES, neighbours=False)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Count the elements that are read along each axis of the data."""
        loops = (self.pixels, self.rows, self.steps)
        moves = zip(*(loop.moves for loop in loops), strict=True)
        return tuple(
            1 + sum((loop.extent - 1) * move for loop, move in zip(loops, axis, strict=True))
            for axis in moves
        )

    @property
    def extents(self) -> dict[str, int]:
        """Count the turns of all loops, the outermost first, by the names in `weight_axes`."""
        reduced = {"R": self.rows.extent, "S": self.steps.extent}
        return {**reduced, "p": self.pixels.extent, "v": self.vectors, "o": LANES}

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Count the elements that are read along each axis of the weights."""
        return tuple(self.extents.get(name, 1) for name in self.weight_axes)

    def distance(self, loop: Loop) -> int:
        """Count the floats from what one turn of a loop reads of the data to the next."""
        return sum(m * stride for m, stride in zip(loop.moves, self.data_strides, strict=True))


def _describe(run: Run) -> tirx.PrimFunc:
    """Say what a run adds to the sums of a tile."""
    loops = Loops(run.extents, "pvoRS")
    at = loops.at
    moving = {"p": run.pixels, "R": run.rows, "S": run.steps}

    def place(axes: list[tirx.Var]) -> tuple[tirx.Expr, ...]:
        """Say where in the data a product reads."""
        return tuple(
            sum((at(name, axes) * loop.moves[i] for name, loop in moving.items()), start=0)
            for i in range(len(run.data_strides))
        )

    def weigh(axes: list[tirx.Var]) -> tuple[tirx.Expr, ...]:
        """Say where in the weights a product reads."""
        return tuple(at(name, axes) for name in run.weight_axes)

    whole_data = tuple(slice(0, extent) for extent in run.data_shape)
    whole_weight = tuple(slice(0, extent) for extent in run.weight_shape)

    @T.prim_func(s_tir=True)
    def describe(pixel_: T.handle, weight_: T.handle, total_: T.handle) -> None:
        ts, tv = T.int32(), T.int32()
        pixel = T.match_buffer(
            pixel_, run.data_shape, "float32", strides=run.data_strides, offset_factor=1
        )
        weight = T.match_buffer(
            weight_, run.weight_shape, "float32", strides=run.weight_strides, offset_factor=1
        )
        total = T.match_buffer(
            total_,
            (run.pixels.extent, run.vectors, LANES),
            "float32",
            strides=[ts, tv, 1],
            offset_factor=1,
        )
        with T.sblock("root"):
            T.reads(
                total[0 : run.pixels.extent, 0 : run.vectors, 0:LANES],
                pixel[whole_data],
                weight[whole_weight],
            )
            T.writes(total[0 : run.pixels.extent, 0 : run.vectors, 0:LANES])
            for turns in T.grid(*loops.turns):
                with T.sblock("multiply"):
                    axes = list(T.axis.remap(loops.kinds, loops.in_block_order(turns)))
                    total[at("p", axes), at("v", axes), at("o", axes)] = (
                        total[at("p", axes), at("v", axes), at("o", axes)]
                        + pixel[place(axes)] * weight[weigh(axes)]
                    )

    return describe


@cache
def multiply_run(run: Run, code: Code) -> str:
    """Name the intrinsic of a run."""
    loops = (run.pixels, run.rows, run.steps)
    numbers = [run.vectors, *(n for loop in loops for n in (loop.extent, *loop.moves))]
    strides = [*run.data_strides, *run.weight_strides]
    name = "_".join(map(str, [*numbers, *strides, run.weight_axes.replace("-", "_")]))
    return register_code(f"bnn_multiply_{name}", _describe(run), code)
