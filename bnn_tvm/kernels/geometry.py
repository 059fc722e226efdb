"""Window geometry shared by convolutions and poolings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """A two-dimensional window that slides over an NHWC tensor.

    Attributes
    ----------
    kernel, strides, dilation : pair of int
        Along height and width.
    padding : tuple of int
        (top, left, bottom, right).
    """

    kernel: Pair
    strides: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def is_padded(self) -> bool:
        """Tell whether any side has padding."""
        return any(self.padding)

    def output_size(self, height: int, width: int) -> Pair:
        """Count the positions of the window along height and width."""
        top, left, bottom, right = self.padding
        sizes = (height + top + bottom, width + left + right)
        spans = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        rows, columns = (
            (size - span) // stride + 1
            for size, span, stride in zip(sizes, spans, self.strides, strict=True)
        )
        return rows, columns

    def reaching(self, rows: int, columns: int, height: int, width: int) -> Window:
        """Extend the padding below and to the right to where the last of the windows end.

        Parameters
        ----------
        rows, columns : int
            Positions of the window.
        height, width : int
            Of the data.
        """
        top, left, bottom, right = self.padding
        ends = [
            (count - 1) * stride + (kernel - 1) * dilation + 1
            for count, stride, kernel, dilation in zip(
                (rows, columns), self.strides, self.kernel, self.dilation, strict=True
            )
        ]
        reach = (top, left, max(bottom, ends[0] - height - top), max(right, ends[1] - width - left))
        return dataclasses.replace(self, padding=reach)
