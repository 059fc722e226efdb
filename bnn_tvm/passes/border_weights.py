"""Derive what the part of a layer's filters adds that lies in the border of an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bnn_tvm.kernels.border import SkippedBorder
from bnn_tvm.kernels.geometry import Extents, Window

from .skipped_border import class_positions


@dataclass(frozen=True)
class BorderCorrection:
    """What windows that reach over the border add, where bits cannot stand for the padding.

    Attributes
    ----------
    classes : tuple of numpy.ndarray
        For each axis, the class of each position: (positions,) int32.
    table : numpy.ndarray
        (classes of each axis, ..., outputs) float32.
    """

    classes: tuple[np.ndarray, ...]
    table: np.ndarray


def correct_border(
    weight: np.ndarray, window: Window, extents: Extents, difference: float
) -> BorderCorrection:
    """Tabulate what padding adds that differs from what its bits stand for.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, *kernel, inputs of a group) float32.
    window : Window
    extents : tuple of int
        Of the data without padding.
    difference : float
        The padding's value less the value of its bits.
    """
    axes = [_inside(window, axis, extents[axis]) for axis in range(len(extents))]
    kinds, classes = zip(*(np.unique(a, axis=0, return_inverse=True) for a in axes), strict=True)
    table = difference * _sum_outside(weight.astype(np.float64).sum(axis=-1), kinds)
    numbers = tuple(c.reshape(-1).astype(np.int32) for c in classes)
    return BorderCorrection(numbers, table.astype(np.float32))


def share_outside(window: Window, extents: Extents) -> float:
    """Tell which part of all steps of a window at all positions reads padding."""
    return 1 - math.prod(
        float(_inside(window, axis, extent).mean()) for axis, extent in enumerate(extents)
    )


def count_skipped(words: np.ndarray, skipped: SkippedBorder, border: np.ndarray) -> np.ndarray:
    """Count the bits of filters that lie in a border and disagree with it.

    Parameters
    ----------
    words : numpy.ndarray
        (blocks, *kernel, words, lanes), of one bit plane.
    skipped : SkippedBorder
    border : numpy.ndarray
        (words,), those of each pixel of the padding.

    Returns
    -------
    numpy.ndarray
        (classes of positions along each axis, ..., blocks, lanes) int32, for
        `skipped_border.start_sums`.
    """
    blocks, *kernel, _, lanes = words.shape
    counts = _popcount(words ^ border[:, np.newaxis]).sum(axis=-2)
    filters = np.moveaxis(counts, -1, 1).reshape(blocks * lanes, *kernel)
    kinds = [
        _inside(skipped.window, axis, skipped.extents[axis])[positions]
        for axis, positions in enumerate(class_positions(skipped))
    ]
    sums = _sum_outside(filters, kinds)
    return sums.reshape(*sums.shape[:-1], blocks, lanes).astype(np.int32)


def _sum_outside(filters: np.ndarray, kinds: Sequence[np.ndarray]) -> np.ndarray:
    """Sum (outputs, *kernel) over the steps that each kind of position does not read.

    Kinds are given for each axis: (kinds, kernel). Returns (kinds of each axis, ..., outputs).
    """
    table = np.zeros((*(len(kind) for kind in kinds), filters.shape[0]), filters.dtype)
    for place in np.ndindex(table.shape[:-1]):
        inside = np.ix_(*(kind[i] for kind, i in zip(kinds, place, strict=True)))
        outside = 1 - math.prod(inside)
        table[place] = (filters * outside).reshape(filters.shape[0], -1).sum(axis=1)
    return table


def _popcount(words: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(np.ascontiguousarray(words)[..., None].view(np.uint8), axis=-1)
    return bits.sum(axis=-1, dtype=np.int64)


def _inside(window: Window, axis: int, extent: int) -> np.ndarray:
    """Tell for each position along an axis which steps of the window read data: 1, else 0."""
    positions = window.output_size((extent,) * len(window.kernel))[axis]
    starts = np.arange(positions) * window.strides[axis] - window.before[axis]
    reads = starts[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis]
    return ((reads >= 0) & (reads < extent)).astype(np.int64)
