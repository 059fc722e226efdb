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

    def bring(self, data: Element, point: int) -> Expr:
        """Compute what the numbers of a group are at one of the points."""
        factors = self._matrices[0][point]
        terms = [data(i) * tirx.const(factors[i], "float32") for i in np.flatnonzero(factors)]
        return functools.reduce(lambda a, b: a + b, terms)

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
    at_points = _transform(rows, filtering, filled, min(groups, lanes))
    sums = _sum_at_points(at_points, weight, filtering, (batch, *outer), groups)

    def result(*index: Expr) -> Expr:
        *place, x, block, lane = index

        def at_point(point: int) -> Expr:
            return sums(*place, point, x // RESULTS, block, lane)

        return _select(x % RESULTS, [filtering.read_off(at_point, i) for i in range(RESULTS)])

    return te.compute((batch, *outer, width, blocks, lanes), result, name=COMBINED)


def _divide_rows(
    data: Element, shape: Extents, filtering: Filtering, groups: int, pad_value: float
) -> te.Tensor:
    """Surround data with padding and lay rows out so that neighbouring groups read neighbours.

    Rows are padded as they lie first. They are then divided by one prime factor of the step after
    the other: each vector comes from a few.

    Returns
    -------
    te.Tensor
        (N, *rows, step, C, groups and those that the last reaches): the place ``group * step + i``
        of a row, where a group of results reads `step` places after the one before.
    """
    window, border = filtering.window, tirx.const(pad_value, "float32")
    batch, *extents, channels = shape

    def element(*index: Expr) -> Expr:
        n, *row, _, channel, place = index
        inside, at = shift((*row, place), window, extents)
        return tirx.if_then_else(inside, data(n, *at, channel), border)

    outer = window.outer
    counts = zip(outer.output_size(tuple(extents[:-1])), outer.strides, outer.spans, strict=True)
    rows = [(count - 1) * stride + span for count, stride, span in counts]
    length = filtering.step * (groups + filtering.reach)
    divided = te.compute((batch, *rows, 1, channels, length), element, name=PADDED)
    for factor in _prime_factors(filtering.step):
        divided = _divide(divided, factor)
    return divided


def _divide(rows: te.Tensor, factor: int) -> te.Tensor:
    """Take each row of (N, *rows, parts, C, places) apart into so many times as many parts."""
    *outer, parts, channels, places = (int(extent) for extent in rows.shape)

    def element(*index: Expr) -> Expr:
        *place, part, channel, at = index
        return rows(*place, part % parts, channel, at * factor + part // parts)

    shape = (*outer, parts * factor, channels, places // factor)
    return te.compute(shape, element, name=DIVIDED)


def _prime_factors(number: int) -> list[int]:
    factors = []
    for factor in range(2, number + 1):
        while number % factor == 0:
            factors.append(factor)
            number //= factor
    return factors


def _transform(rows: te.Tensor, filtering: Filtering, groups: int, lanes: int) -> te.Tensor:
    """Bring data to the points: (N, points, *rows, phases * C, vectors of groups, lanes).

    All rows of a point are neighbours: a window's sum reads them one after the other.
    """
    batch, *extents, step, channels, _ = (int(extent) for extent in rows.shape)

    def at_point(*index: Expr) -> Expr:
        n, point, *row, channel, vector, lane = index

        def number(tap: int) -> Expr:
            place, group = filtering.phases * tap + channel // channels, vector * lanes + lane
            return rows(n, *row, place % step, channel % channels, group + place // step)

        return _select(point, [filtering.bring(number, i) for i in range(filtering.points)])

    at_points = (filtering.phases * channels, groups // lanes, lanes)
    return te.compute((batch, filtering.points, *extents, *at_points), at_point, name=TRANSFORMED)


def _select(index: Expr, values: list[Expr]) -> Expr:
    """Choose by an index that is known when its loop is written out."""
    *others, value = values
    for i, other in reversed(list(enumerate(others))):
        value = tirx.Select(index == i, other, value)
    return value


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
        at = point, *filtering.window.outer.place(row, steps), channel
        value = data(n, *at, group // in_vector, group % in_vector)
        return te.sum(value * weight(block, point, *steps, channel, lane), axis=[*steps, channel])

    return te.compute((*positions, points, groups, blocks, lanes), dot, name=ACCUMULATE)
