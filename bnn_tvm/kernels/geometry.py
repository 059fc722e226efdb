"""Window geometry shared by convolutions and poolings of one, two or three dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Extents = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window that slides over the inner axes of a channels-last tensor.

    Attributes
    ----------
    kernel, strides, dilation : tuple of int
        Along each axis, such as height and width.
    padding : tuple of int
        Before each axis, then after each axis: (top, left, bottom, right).
    """

    kernel: Extents
    strides: Extents
    dilation: Extents
    padding: Extents

    @property
    def before(self) -> Extents:
        """Padding before each axis."""
        return self.padding[: len(self.kernel)]

    @property
    def after(self) -> Extents:
        """Padding after each axis."""
        return self.padding[len(self.kernel) :]

    @property
    def is_padded(self) -> bool:
        """Tell whether any side has padding."""
        return any(self.padding)

    @property
    def spans(self) -> Extents:
        """Extent of the dilated window along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def outer(self) -> Window:
        """The window without its last axis."""
        padding = (*self.before[:-1], *self.after[:-1])
        return Window(self.kernel[:-1], self.strides[:-1], self.dilation[:-1], padding)

    def taller(self, above: int, below: int) -> Window:
        """Pad by what so many positions more along the first axis read."""
        before, after = list(self.before), list(self.after)
        before[0] += above * self.strides[0]
        after[0] += below * self.strides[0]
        return dataclasses.replace(self, padding=(*before, *after))

    def padded_along(self, axes: Sequence[bool]) -> Window:
        """Keep the padding along some axes only."""
        both = zip(self.padding, (*axes, *axes), strict=True)
        return dataclasses.replace(self, padding=tuple(pad if kept else 0 for pad, kept in both))

    def padded_size(self, extents: Extents) -> Extents:
        """Give the extents of data with its padding."""
        return tuple(map(sum, zip(extents, self.before, self.after, strict=True)))

    def positions_inside(self, extents: Extents) -> list[tuple[int, int]]:
        """Say along each axis which positions, from the first to the last, read no padding.

        The last of all positions, twice, where there is none.
        """
        inside = []
        positions = self.output_size(extents)
        axes = zip(extents, self.before, self.spans, self.strides, positions, strict=True)
        for extent, before, span, step, count in axes:
            first, last = -(-before // step), (extent + before - span) // step
            inside.append((first, last) if first <= last else (count - 1, count - 1))
        return inside

    def output_size(self, extents: Extents) -> Extents:
        """Count the positions of the window along each axis of data of these extents."""
        sizes = zip(extents, self.before, self.after, self.spans, self.strides, strict=True)
        return tuple(
            (size + low + high - span) // step + 1 for size, low, high, span, step in sizes
        )

    def reaching(self, positions: Extents, extents: Extents) -> Window:
        """Extend the padding after each axis to where the last of so many positions ends.

        Parameters
        ----------
        positions : tuple of int
            Of the window, along each axis.
        extents : tuple of int
            Of the data.
        """
        ends = [
            (count - 1) * step + span
            for count, step, span in zip(positions, self.strides, self.spans, strict=True)
        ]
        reach = [
            max(high, end - size - low)
            for high, end, size, low in zip(self.after, ends, extents, self.before, strict=True)
        ]
        return dataclasses.replace(self, padding=(*self.before, *reach))

    def place(self, position: Sequence[Any], step: Sequence[Any]) -> list[Any]:
        """Say where in the padded data a position of the window reads at a step inside it."""
        axes = zip(position, self.strides, step, self.dilation, strict=True)
        return [p * stride + k * dilation for p, stride, k, dilation in axes]
