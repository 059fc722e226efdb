"""Winograd's minimal filtering: convolutions along rows in fewer multiplications.

``m`` neighbouring results of a filter of ``t`` taps need ``m + t - 1`` multiplications and not
``m * t`` (S. Winograd, "Arithmetic Complexity of Computations", 1980): data and filter are
polynomials that are multiplied at as many points, one of them infinity, and the results are read
off. A filter that moves by ``s`` is the sum of ``s`` filters on every ``s``-th number of a row,
which share the points. Only the last axis is filtered so; sums along the others, and over channels,
are taken at the points.

Rounding differs from that of the plain sum: errors of a 7 x 7 window that moves by 2 are 2.2 times
as large with `POINTS` (root mean square: 4.7e-7 of the results' standard deviation).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from .border import Element, shift
from .geometry import Extents, Window
from .stages import ACCUMULATE, COMBINED, DIVIDED, PADDED, TRANSFORMED

RESULTS = 4
"""Neighbouring results that are computed together."""

POINTS = (0, 1, -1, 2, -2, Fraction(-1, 2))
"""Where polynomials are multiplied, beside infinity; of few results, the first ones."""

# What is worth the transformations: at most this share of the multiplications, in long sums.
_WORTHWHILE_SHARE = 0.6
_LEAST_SUM = 32


@dataclass(frozen=True)
class Filtering:
    """How the rows of a convolution are filtered.

    Attributes
    ----------
    window : Window
    channels : int
        Of the data.
    """

    window: Window
    channels: int

    @property
    def phases(self) -> int:
        """Count the filters that one is the sum of."""
        return self.window.strides[-1]

    @property
    def taps(self) -> int:
        """Count the taps of the longest of them."""
        return -(-self.window.kernel[-1] // self.phases)

    @property
    def points(self) -> int:
        """Count the multiplications for `RESULTS` results."""
        return RESULTS + self.taps - 1

    @property
    def finite_points(self) -> tuple[int | Fraction, ...]:
        """Where polynomials are multiplied, infinity left out."""
        return POINTS[: self.points - 1]

    @property
    def step(self) -> int:
        """Count the places of a row from what a group reads to what the next one does."""
        return self.phases * RESULTS

    @property
    def reach(self) -> int:
        """Count the groups after its own that the last place read by a group lies in."""
        return (self.phases * self.points - 1) // self.step

    @property
    def sum_length(self) -> int:
        """Count what is summed up at each point."""
        return math.prod(self.window.outer.kernel) * self.phases * self.channels

    def is_worthwhile(self, extents: Extents) -> bool:
        """Tell whether data of these extents is filtered faster so."""
        *_, width = self.window.output_size(extents)
        share = self.points * self.phases / (RESULTS * self.window.kernel[-1])
        return (
            self.points <= len(POINTS) + 1
            and self.window.dilation[-1] == 1
            and width % RESULTS == 0
            and share <= _WORTHWHILE_SHARE
            and self.sum_length >= _LEAST_SUM
        )

    @functools.cached_property
    def _matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute what transforms data, (points, points), and taps, (points, taps).

        Rows are scaled by powers of two, data down and taps up, so that their sizes are alike.
        """
        finite = [Fraction(point) for point in self.finite_points]
        data = np.zeros((self.points, self.points))
        taps = np.zeros((self.points, self.taps))
        for row, point in enumerate(finite):
            others = [other for other in finite if other != point]
            data[row, :-1] = _expand(others)
            slope = math.prod((point - other for other in others), start=Fraction(1))
            taps[row] = [float(point**tap / slope) for tap in range(self.taps)]
        data[-1] = _expand(finite)
        taps[-1, -1] = 1
        sizes = np.abs(data).sum(axis=1) / np.abs(taps).sum(axis=1)
        scale = 2.0 ** np.round(np.log2(sizes) / 2)
        return data / scale[:, None], taps * scale[:, None]

    @property
    def data_transform(self) -> np.ndarray:
        """Give the matrix that brings data to the points: (points, points) float32."""
        return self._matrices[0].astype(np.float32)

    def transform_weight(self, weight: np.ndarray) -> np.ndarray:
        """Bring filters to the points.

        Parameters
        ----------
        weight : numpy.ndarray
            (outputs, *kernel, channels).

        Returns
        -------
        numpy.ndarray
            (outputs, points, *kernel without the last axis, phases * channels) float32.
        """
        outputs, *kernel, width, channels = weight.shape
        taps = np.zeros((outputs, *kernel, self.taps * self.phases, channels))
        taps[..., :width, :] = weight
        divided = taps.reshape(outputs, *kernel, self.taps, self.phases * channels)
        at_points = np.tensordot(self._matrices[1], divided, axes=(1, divided.ndim - 2))
        return np.moveaxis(at_points, 0, 1).astype(np.float32)

    def read_off(self, sums: Element, result: int) -> Expr:
        """Compute one of the results from the sums at the points.

        Points that differ in their sign only are added and subtracted first: results share that.
        """
        terms = []
        points = self.finite_points
        for place, point in enumerate(points):
            if -point in points[:place]:
                continue
            opposite = [sums(i) for i, other in enumerate(points) if other == -point]
            value = sums(place)
            if point and opposite:
                value = value - opposite[0] if result % 2 else value + opposite[0]
            if factor := float(point**result):
                terms.append(value if factor == 1 else value * tirx.const(factor, "float32"))
        if result == RESULTS - 1:
            terms.append(sums(self.points - 1))
        return functools.reduce(lambda a, b: a + b, terms)


def _expand(roots: list[Fraction]) -> list[float]:
    """Multiply ``x - root`` out; return the coefficients, that of 1 first."""
    coefficients = [Fraction(1)]
    for root in roots:
        raised, kept = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [a - root * b for a, b in zip(raised, kept, strict=True)]
    return [float(coefficient) for coefficient in coefficients]


def winograd_conv(
    data: Element,
    shape: Extents,
    weight: te.Tensor,
    transform: te.Tensor,
    filtering: Filtering,
    pad_value: float,
) -> te.Tensor:
    """Convolve what is computed element by element, such as an image in planes.

    Parameters
    ----------
    data : callable
        Gives the float32 at an index (N, *extents, C).
    shape : tuple of int
        (N, *extents, C).
    weight : te.Tensor
        (output blocks, points, *kernel without the last axis, phases * C, lanes), as
        `Filtering.transform_weight` gives them.
    transform : te.Tensor
        `Filtering.data_transform`.
    filtering : Filtering
        Is worthwhile for data of these extents.
    pad_value : float
        What the padding holds.

    Returns
    -------
    te.Tensor
        (N, *positions, output blocks, lanes) float32.
    """
    batch, *extents, _ = shape
    *outer, width = filtering.window.output_size(tuple(extents))
    groups, blocks, lanes = width // RESULTS, int(weight.shape[0]), int(weight.shape[-1])
    # Whole vectors of groups, if one is filled.
    filled = -(-groups // lanes) * lanes if groups >= lanes else groups
    rows = _divide_rows(data, shape, filtering, filled, pad_value)
    at_points = _transform(rows, transform, filtering, filled, min(groups, lanes))
    sums = _sum_at_points(at_points, weight, filtering, (batch, *outer), groups)

    def result(*index: Expr) -> Expr:
        *place, x, block, lane = index

        def at_point(point: int) -> Expr:
            return sums(*place, point, x // RESULTS, block, lane)

        value = filtering.read_off(at_point, RESULTS - 1)
        for i in reversed(range(RESULTS - 1)):
            value = tirx.Select(x % RESULTS == i, filtering.read_off(at_point, i), value)
        return value

    return te.compute((batch, *outer, width, blocks, lanes), result, name=COMBINED)


def _divide_rows(
    data: Element, shape: Extents, filtering: Filtering, groups: int, pad_value: float
) -> te.Tensor:
    """Surround data with padding and lay rows out so that neighbouring groups read neighbours.

    Rows are padded as they lie first. Places a step apart then come from whole vectors.

    Returns
    -------
    te.Tensor
        (N, *rows, step, C, groups and those that the last reaches): the place ``group * step + i``
        of a row, where a group of results reads `step` places after the one before.
    """
    window, border = filtering.window, tirx.const(pad_value, "float32")
    batch, *extents, channels = shape

    def element(*index: Expr) -> Expr:
        n, *row, channel, place = index
        inside, at = shift((*row, place), window, extents)
        return tirx.if_then_else(inside, data(n, *at, channel), border)

    outer = window.outer
    counts = zip(outer.output_size(tuple(extents[:-1])), outer.strides, outer.spans, strict=True)
    rows = [(count - 1) * stride + span for count, stride, span in counts]
    step, reached = filtering.step, groups + filtering.reach
    padded = te.compute((batch, *rows, channels, step * reached), element, name=PADDED)
    return te.compute(
        (batch, *rows, step, channels, reached),
        lambda *index: padded(*index[:-3], index[-2], index[-1] * step + index[-3]),
        name=DIVIDED,
    )


def _transform(
    rows: te.Tensor, transform: te.Tensor, filtering: Filtering, groups: int, lanes: int
) -> te.Tensor:
    """Bring data to the points: (N, *rows, points, phases * C, vectors of groups, lanes)."""
    batch, *extents, step, channels, _ = (int(extent) for extent in rows.shape)
    tap = te.reduce_axis((0, filtering.points), "tap")

    def at_point(*index: Expr) -> Expr:
        n, *row, point, channel, vector, lane = index
        place, group = filtering.phases * tap + channel // channels, vector * lanes + lane
        value = rows(n, *row, place % step, channel % channels, group + place // step)
        return te.sum(value * transform(point, tap), axis=[tap])

    at_points = (filtering.points, filtering.phases * channels)
    shape = (batch, *extents, *at_points, groups // lanes, lanes)
    return te.compute(shape, at_point, name=TRANSFORMED)


def _sum_at_points(
    data: te.Tensor, weight: te.Tensor, filtering: Filtering, positions: Extents, groups: int
) -> te.Tensor:
    """Sum products: (N, *positions without the last, points, groups, blocks, lanes)."""
    blocks, points, *kernel, channels, lanes = (int(extent) for extent in weight.shape)
    in_vector = int(data.shape[-1])
    steps = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(kernel)]
    channel = te.reduce_axis((0, channels), "kc")

    def dot(*index: Expr) -> Expr:
        n, *row, point, group, block, lane = index
        at = *filtering.window.outer.place(row, steps), point, channel
        value = data(n, *at, group // in_vector, group % in_vector)
        return te.sum(value * weight(block, point, *steps, channel, lane), axis=[*steps, channel])

    return te.compute((*positions, points, groups, blocks, lanes), dot, name=ACCUMULATE)
