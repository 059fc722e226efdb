"""Data with the border that its padding asks for."""

from __future__ import annotations

from collections.abc import Callable

from tvm import te, tirx
from tvm.ir import Expr

from .geometry import Window
from .stages import PADDED


def surround(data: te.Tensor, window: Window, border: Callable[[Expr], Expr]) -> te.Tensor:
    """Surround the inner axes of a tensor with pixels.

    Parameters
    ----------
    data : te.Tensor
        (N, ..., channels or words).
    window : Window
        Gives the padding.
    border : callable
        Gives the value of the border at a channel or word.
    """
    if not window.is_padded:
        return data
    batch, *extents, last = (int(extent) for extent in data.shape)
    low = window.before

    def pixel(*index: Expr) -> Expr:
        n, *place, channel = index
        inside = [
            condition
            for at, before, extent in zip(place, low, extents, strict=True)
            for condition in (at >= before, at < extent + before)
        ]
        shifted = [at - before for at, before in zip(place, low, strict=True)]
        return tirx.if_then_else(tirx.all(*inside), data(n, *shifted, channel), border(channel))

    padded = [
        before + extent + after
        for before, extent, after in zip(low, extents, window.after, strict=True)
    ]
    return te.compute((batch, *padded, last), pixel, name=PADDED)
