"""Rows of windows in the border: computed from constants, to the same sums."""

from __future__ import annotations

import numpy as np
import pytest
import tvm_ffi
from bnn_tvm.schedules import schedule_kernel
from relax_harness import (
    assert_same,
    kernels_of_kind,
    lower,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax, tirx

from bnn_tvm.target import get_target

op = relax.op
TARGET = "x86-64-zen4"
CHANNELS = 40


def convolve(rank, padding, strides=1, kernel=3, value=1.0):
    """Convolve signs of (1, 40, 9, ...) data, padded with signs, with filters of signs."""
    convs = {1: op.nn.conv1d, 2: op.nn.conv2d, 3: op.nn.conv3d}

    def body(g, x):
        before, after = padding
        widths = [0, 0, 0, 0] + [before, after] * rank
        padded = g(op.nn.pad(g.sign(x), widths, pad_value=value))
        weight = relax.const(random_signs(1, 24, CHANNELS, *[kernel] * rank))
        return g(convs[rank](padded, weight, strides=[strides] * rank))

    return module(body, (1, CHANNELS, *[9] * rank))


def convolve_levels(padding):
    """Convolve data of two bits, padded with 0, with filters of two bits."""
    rng = np.random.default_rng(2)

    def body(g, x):
        weight = (2 * rng.integers(0, 4, (24, CHANNELS, 3, 3)) - 3).astype(np.float32) / 3
        return g.conv(g.quantize(x, 2), weight, padding=padding)

    return module(body, (1, CHANNELS, 9, 9))


def conditions(mod) -> int:
    """Count the conditions in the scheduled kernel of a layer on bits."""
    (kernel,) = [k for rank in (1, 2, 3) for k in kernels_of_kind(mod, f"bitserial_conv{rank}d")]
    found = []
    func = schedule_kernel(kernel, get_target(TARGET)).func
    tvm_ffi.structural_walk(func.body, (tirx.IfThenElse, found.append))
    return len(found)


@pytest.mark.parametrize("value", [-1.0, 1.0])
@pytest.mark.parametrize(
    ("rank", "padding", "strides", "kernel"),
    [
        (1, (1, 1), 1, 3),
        (2, (1, 1), 1, 3),
        (2, (1, 1), 2, 3),
        (2, (2, 0), 1, 3),
        (2, (0, 2), 2, 5),
        (2, (4, 4), 3, 3),
        (3, (1, 1), 1, 3),
    ],
)
def test_sums_are_those_of_the_padded_image(rank, padding, strides, kernel, value):
    mod = convolve(rank, padding, strides, kernel, value)
    x = [random_floats(0, 1, CHANNELS, *[9] * rank)]
    assert_same(run(mod, x), run_lowered(mod, x, TARGET))


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_sums_of_several_bits_are_those_of_the_padded_image(padding):
    mod = convolve_levels(padding)
    x = [random_floats(0, 1, CHANNELS, 9, 9)]
    assert_same(run(mod, x), run_lowered(mod, x, TARGET), atol=1e-5)


def test_rows_that_lie_apart_have_a_condition():
    assert conditions(lower(convolve(2, (1, 1), value=-1.0), TARGET)) == 1
    assert conditions(lower(convolve(3, (1, 1), value=-1.0), TARGET)) == 1
    assert conditions(lower(convolve_levels(1), TARGET)) == 1


def test_there_is_none_without_a_border_or_where_a_tile_spans_all_rows():
    assert conditions(lower(convolve(2, (0, 0)), TARGET)) == 0
    assert conditions(lower(convolve(1, (1, 1), value=-1.0), TARGET)) == 0


def test_more_border_than_image_is_right():
    """Each window has rows in the border."""
    mod = convolve(2, (3, 3), 1, 5)
    x = [np.ones((1, CHANNELS, 9, 9), np.float32)]
    assert_same(run(mod, x), run_lowered(mod, x, TARGET))
