"""Max-pooling of rows that are computed just before they are read, and never in memory at once."""

from __future__ import annotations

import math

from tvm import te, tirx
from tvm.ir import Expr

from .border import Element
from .geometry import Extents, Window
from .stages import POOLED, ROWS


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
    rows = te.compute((batch, above + height + below, *extents, channels), element, name=ROWS)
    steps = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(window.kernel)]

    def reduced(*index: Expr) -> Expr:
        n, *position, channel = index
        row, *place = window.place(position, steps)
        at = [p - before for p, before in zip(place, window.before[1:], strict=True)]
        inside = [c for p, size in zip(at, extents, strict=True) for c in (p >= 0, p < size)]
        inside += [row >= above, row < above + height]
        least = tirx.const(-math.inf, "float32")
        value = tirx.if_then_else(tirx.all(*inside), rows(n, row, *at, channel), least)
        return te.max(value, axis=steps)

    return te.compute((batch, *positions, channels), reduced, name=POOLED)
