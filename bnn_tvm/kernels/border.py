"""Data with the border that its padding asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import te, tirx
from tvm.ir import Expr

from .geometry import Extents, Window
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

    return te.compute((batch, *window.padded_size(tuple(extents)), last), pixel, name=PADDED)


@dataclass(frozen=True)
class SkippedBorder:
    """Padding that windows do not read.

    Attributes
    ----------
    window : Window
        With this padding only.
    extents : tuple of int
        Of what is read, along each axis: of an image with its other padding.
    """

    window: Window
    extents: Extents

    @staticmethod
    def along(axes: Sequence[bool], window: Window, extents: Extents) -> SkippedBorder:
        """Skip the padding of an image of some extents along some axes."""
        read = window.padded_along([not skipped for skipped in axes])
        return SkippedBorder(window.padded_along(axes), read.padded_size(extents))


@dataclass(frozen=True)
class WindowWords:
    """Words that windows read of packed bits.

    Attributes
    ----------
    data : te.Tensor
        (N, *extents, words), with the padding that is read.
    window : Window
        With the padding that is skipped.
    """

    data: te.Tensor
    window: Window

    def combine(
        self,
        n: Expr,
        position: Sequence[Expr],
        steps: Sequence[Expr],
        word: Expr,
        function: Callable[[Expr], Expr],
    ) -> Expr:
        """Give what a function makes of the word at a step of a window; 0 where it is skipped."""
        _, *extents, _ = (int(extent) for extent in self.data.shape)
        inside, place = shift(self.window.place(position, steps), self.window, extents)
        bits = function(self.data(n, *place, word))
        zero = tirx.const(0, self.data.dtype)
        return tirx.if_then_else(inside, bits, zero) if self.window.is_padded else bits


def read_windows(
    data: te.Tensor, window: Window, border: Callable[[Expr], Expr], skipped: Sequence[bool]
) -> WindowWords:
    """Read packed bits by windows.

    Takes what `surround` takes, and along which axes padding is skipped.
    """
    read = window.padded_along([not axis for axis in skipped])
    return WindowWords(surround(data, read, border), window.padded_along(skipped))


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

    return te.compute((batch, channels, *window.padded_size(tuple(extents))), pixel, name=PADDED)


def shift(place: Sequence[Expr], window: Window, extents: Sequence[int]) -> tuple[Expr, list[Expr]]:
    """Tell whether a place of the padded data is inside, and where it is in the data."""
    low = window.before
    inside = [
        condition
        for at, before, extent in zip(place, low, extents, strict=True)
        for condition in (at >= before, at < extent + before)
    ]
    return tirx.all(*inside), [at - before for at, before in zip(place, low, strict=True)]


def nearest_row(rows: Expr, numbers: te.Tensor, at: Expr) -> Expr:
    """Look up the number of a row at a position, and give that of a row which is there.

    Kernels are also timed on random operands, where a number could be any.
    """
    return tirx.max(tirx.min(numbers(at), rows - 1), 0)
