"""Fetch the weights of the next channel tile into the cache while one tile is computed.

All pixels pass while the weights of one channel tile stay in L1. Those of the next come from
memory that is far off, where a network's weights are larger than L2, and faster than the processor
fetches them by itself: the first row of pixels would wait. Weights that are used once only, as by a
dense layer at batch 1, are read as fast as they come: 512 to 1000 took 99 us fetched, 81 us not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV

from bnn_tvm.kernels.stages import WEIGHT

from .steps import change_loop, with_body

_LINE_BYTES = 64
# Fewer bytes than this stay in L2 between two runs.
_FEWEST_BYTES = 1 << 16
# Prefetches in a row that are worth their code.
_MOST_WRITTEN_OUT = 16
_READ, _INTO_L2, _DATA = 0, 2, 1


def prefetch_weights(
    sch: Schedule, loops: Sequence[LoopRV], channel_tiles: int, passes: int
) -> Schedule:
    """Spread the lines of the next channel tile's weights over the pixel tiles of this one.

    Parameters
    ----------
    sch : Schedule
        Of a layer at batch 1 that computes one channel tile after the other.
    loops : sequence of LoopRV
        All loops around one tile of pixels, the outermost first.
    channel_tiles : int
    passes : int
        How often all channel tiles come.

    Returns
    -------
    Schedule
        Of the function with prefetches before each tile; as it was where all weights are few, or
        used once.
    """
    (func,) = sch.mod.functions.values()
    weight = next(param for param in func.params if param.name == WEIGHT)
    elements = math.prod(int(axis) for axis in weight.shape)
    line = _LINE_BYTES // np.dtype(str(weight.dtype)).itemsize
    if channel_tiles < 2 or elements // line * _LINE_BYTES < _FEWEST_BYTES:
        return sch
    step, steps = tirx.const(0, "int32"), 1
    for loop in map(sch.get, loops):
        step, steps = step * loop.extent + loop.loop_var, steps * int(loop.extent)
    innermost = loop.loop_var
    steps //= passes
    if steps <= channel_tiles:
        return sch
    lines = -(-elements // (steps * line))
    step += steps // channel_tiles
    start = (step if passes == 1 else step % steps) * lines * line

    def insert(loop: tirx.For) -> tirx.For:
        return with_body(loop, tirx.SeqStmt([_prefetch(weight, start, lines, line), loop.body]))

    return Schedule(func.with_body(change_loop(func.body, innermost, insert)))


def _prefetch(weight: tirx.Buffer, start: tirx.Expr, lines: int, line: int) -> tirx.For:
    """Fetch some cache lines from an element on, which may lie past the end."""
    index = tirx.Var("line", "int32")
    place = [0] * (len(weight.shape) - 1) + [start + index * line]
    fetch = tirx.call_intrin(
        "", "tirx.prefetch", tirx.address_of(weight[tuple(place)]), _READ, _INTO_L2, _DATA
    )
    kind = tirx.ForKind.UNROLLED if lines <= _MOST_WRITTEN_OUT else tirx.ForKind.SERIAL
    return tirx.For(index, 0, lines, kind, tirx.Evaluate(fetch))
