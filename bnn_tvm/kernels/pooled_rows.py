"""Max-pooling of rows that are computed just before they are read, and never in memory at once.

Rows are pooled along themselves first, as they are computed: what waits for the rows below is half
as wide, and whole rows are nowhere.
"""

from __future__ import annotations

import functools
import itertools
import math

from tvm import te, tirx
from tvm.ir import Expr

from .border import Element
from .geometry import Extents, Window
from .stages import NARROWED, POOLED

_LEAST = tirx.const(-math.inf, "float32")


def rows_beyond(window: Window, positions: Extents, height: int) -> tuple[int, int]:
    """Count the rows above and below data that a pooling reads.

    Parameters
    ----------
    window : Window
    positions : tuple of int
        Of the window, along each axis; the last may reach past the padding.
    height : int
        Rows of the data.
    """
    end = (positions[0] - 1) * window.strides[0] + window.spans[0] - window.before[0]
    return window.before[0], max(end - height, 0)


def max_pool_rows(
    element: Element, shape: Extents, window: Window, positions: Extents
) -> te.Tensor:
    """Take the maximum of each window of what is computed element by element.

    Parameters
    ----------
    element : callable
        Gives the data at an index (N, *extents, C), with the rows that `rows_beyond` counts: row 0
        is the first above. What those hold is not read.
    shape : tuple of int
        (N, *extents, C) without those rows.
    window : Window
    positions : tuple of int
        Of the window, along each axis.

    Returns
    -------
    te.Tensor
        (N, *positions, C).
    """
    batch, height, *extents, channels = shape
    above, below = rows_beyond(window, positions, height)
    every_row = (batch, above + height + below, *extents, channels)
    narrowed = _narrow(element, every_row, window, positions[1:])
    step = te.reduce_axis((0, window.kernel[0]), "step")

    def maximum(*index: Expr) -> Expr:
        n, position, *rest = index
        row = position * window.strides[0] + step * window.dilation[0]
        inside = tirx.all(row >= above, row < above + height)
        return te.max(tirx.if_then_else(inside, narrowed(n, row, *rest), _LEAST), axis=step)

    return te.compute((batch, *positions, channels), maximum, name=POOLED)


def _narrow(element: Element, shape: Extents, window: Window, positions: Extents) -> te.Tensor:
    """Take the maximum of each window along each row: (N, rows, *positions, C)."""
    batch, count, *extents, channels = shape

    def maximum(*index: Expr) -> Expr:
        n, row, *position, channel = index

        def at_step(step: tuple[int, ...]) -> Expr:
            _, *place = window.place((0, *position), (0, *step))
            at = [p - before for p, before in zip(place, window.before[1:], strict=True)]
            inside = [c for p, size in zip(at, extents, strict=True) for c in (p >= 0, p < size)]
            return tirx.if_then_else(tirx.all(*inside), element(n, row, *at, channel), _LEAST)

        return functools.reduce(
            tirx.max, map(at_step, itertools.product(*map(range, window.kernel[1:])))
        )

    return te.compute((batch, count, *positions, channels), maximum, name=NARROWED)
