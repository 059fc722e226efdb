"""What filters add in the border of an image, against images that have it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from relax_harness import random_floats, random_signs

from bnn_tvm.kernels.bits import pack_signs
from bnn_tvm.kernels.border import SkippedBorder
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.passes.border_weights import correct_border, count_skipped
from bnn_tvm.passes.layer_weights import Blocking
from bnn_tvm.passes.skipped_border import class_positions

WINDOWS = {
    1: (Window((3,), (2,), (1,), (1, 2)), (5,)),
    2: (Window((3, 2), (1, 2), (2, 1), (2, 1, 1, 0)), (5, 4)),
    3: (Window((2, 1, 3), (1, 1, 1), (1, 1, 1), (1, 0, 1, 1, 0, 1)), (2, 3, 2)),
}


def surrounded(x: np.ndarray, window: Window, value: float) -> np.ndarray:
    widths = zip(window.before, window.after, strict=True)
    return np.pad(x, [*widths, (0, 0)], constant_values=value)


def convolve(x: np.ndarray, weight: np.ndarray, window: Window) -> np.ndarray:
    """Convolve padded data (*extents, channels) in any number of dimensions, place by place."""
    unpadded = Window(window.kernel, window.strides, window.dilation, (0,) * len(window.padding))
    positions = unpadded.output_size(x.shape[:-1])
    y = np.zeros((*positions, weight.shape[0]))
    for position in itertools.product(*map(range, positions)):
        for step in itertools.product(*map(range, window.kernel)):
            pixel = x[tuple(window.place(position, step))].astype(np.float64)
            y[position] += weight[(slice(None), *step)].astype(np.float64) @ pixel
    return y


@pytest.mark.parametrize("dimensions", WINDOWS)
@pytest.mark.parametrize("value, stands_for", [(-1.0, 0.0), (0.0, -1.0), (0.5, 1.0)])
def test_border_correction_is_what_another_border_adds(value, stands_for, dimensions):
    window, extents = WINDOWS[dimensions]
    weight, x = random_floats(1, 3, *window.kernel, 4), random_floats(2, *extents, 4)
    correction = correct_border(weight, window, extents, value - stands_for)
    table = correction.table[np.ix_(*correction.classes)]
    with_bits = convolve(surrounded(x, window, stands_for), weight, window)
    expected = convolve(surrounded(x, window, value), weight, window)
    np.testing.assert_allclose(with_bits + table, expected, atol=1e-5)


def test_border_correction_tabulates_kinds_of_positions_not_positions():
    window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    correction = correct_border(random_floats(1, 5, 3, 3, 4), window, (56, 40), 1.0)
    assert correction.table.shape == (3, 3, 5)
    assert [len(numbers) for numbers in correction.classes] == [56, 40]


def class_of(position: int, first: int, last: int) -> int:
    return min(position, first) + max(position - last, 0)


SKIPPING = {
    **WINDOWS,
    "larger than the image": (Window((5, 3), (1, 1), (1, 1), (2, 1, 2, 1)), (2, 3)),
    "a step over the end": (Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1)), (4, 5)),
}


@pytest.mark.parametrize("window, extents", SKIPPING.values(), ids=map(str, SKIPPING))
@pytest.mark.parametrize("value", [-1, 1])
@pytest.mark.parametrize("channels", [32, 37])
def test_what_is_skipped_is_what_the_padding_counts_for(window, extents, value, channels):
    """An image that agrees with every filter leaves what lies in the border."""
    signs = random_signs(1, channels)
    filters = np.broadcast_to(signs, (4, *window.kernel, channels))
    image = np.broadcast_to(signs, (*extents, channels))
    words = Blocking(4, 4).block(pack_signs(filters, 32))
    border = pack_signs(np.full(channels, value), 32)
    table = count_skipped(words, SkippedBorder(window, extents), border)
    dots = convolve(surrounded(image, window, value), filters, window)
    inside = window.positions_inside(extents)
    for position in np.ndindex(dots.shape[:-1]):
        place = [class_of(at, *ends) for at, ends in zip(position, inside, strict=True)]
        disagreeing = (filters[0].size - dots[position]) / 2
        np.testing.assert_array_equal(table[(*place, 0)], disagreeing)


@pytest.mark.parametrize("window, extents", SKIPPING.values(), ids=map(str, SKIPPING))
def test_classes_are_numbered_in_the_order_of_their_positions(window, extents):
    for positions, ends in zip(
        class_positions(SkippedBorder(window, extents)),
        window.positions_inside(extents),
        strict=True,
    ):
        assert [class_of(at, *ends) for at in positions] == list(range(len(positions)))
