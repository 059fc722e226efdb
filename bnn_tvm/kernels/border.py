"""Data with the border that its padding asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import te, tirx
from tvm.ir import Expr

from .geometry import Window
from .stages import PADDED

Element = Callable[..., Expr]
"""Gives one element of a tensor at an index."""


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

    def pixel(*index: Expr) -> Expr:
        n, *place, channel = index
        inside, shifted = shift(place, window, extents)
        return tirx.if_then_else(inside, data(n, *shifted, channel), border(channel))

    return te.compute((batch, *_padded(window, extents), last), pixel, name=PADDED)


def gather(element: Element, shape: tuple[int, ...], window: Window, border: Expr) -> te.Tensor:
    """Compute data plane by plane, surrounded with pixels.

    Parameters
    ----------
    element : callable
        Gives the data at an index (N, ..., channels).
    shape : tuple of int
        Of the data.
    window : Window
        Gives the padding.
    border : tirx.Expr
        The value of the border.

    Returns
    -------
    te.Tensor
        (N, channels, ...) with padding.
    """
    batch, *extents, channels = shape

    def pixel(*index: Expr) -> Expr:
        n, channel, *place = index
        inside, shifted = shift(place, window, extents)
        value = element(n, *shifted, channel)
        return tirx.if_then_else(inside, value, border) if window.is_padded else value

    return te.compute((batch, channels, *_padded(window, extents)), pixel, name=PADDED)


def shift(place: Sequence[Expr], window: Window, extents: Sequence[int]) -> tuple[Expr, list[Expr]]:
    """Tell whether a place of the padded data is inside, and where it is in the data."""
    low = window.before
    inside = [
        condition
        for at, before, extent in zip(place, low, extents, strict=True)
        for condition in (at >= before, at < extent + before)
    ]
    return tirx.all(*inside), [at - before for at, before in zip(place, low, strict=True)]


def _padded(window: Window, extents: Sequence[int]) -> list[int]:
    return [
        before + extent + after
        for before, extent, after in zip(window.before, extents, window.after, strict=True)
    ]


def nearest_row(rows: Expr, numbers: te.Tensor, at: Expr) -> Expr:
    """Look up the number of a row at a position, and give that of a row which is there.

    Kernels are also timed on random operands, where a number could be any.
    """
    return tirx.max(tirx.min(numbers(at), rows - 1), 0)
