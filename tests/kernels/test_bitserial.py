"""Binary kernels against the reference, over shapes, strides, dilations and odd channels.

Each is lowered, scheduled and run for a target, so that packing and schedules are covered too.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_harness import (
    COUNTING_TARGETS,
    TARGETS,
    kernel_kinds,
    lower,
    module,
    random_signs,
    run_lowered,
)
from tvm import relax

from bnn_tvm import reference

op = relax.op
SMALL = st.integers(1, 3)
PAIR = st.tuples(SMALL, SMALL)
SEED = st.integers(0, 1000)
TARGET = st.sampled_from(COUNTING_TARGETS)
SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)
SWEEP = settings(SETTINGS, max_examples=200)

to_nhwc, to_nchw = (0, 2, 3, 1), (0, 3, 1, 2)


def pad(g, x, padding, value):
    top, left, bottom, right = padding
    return g(op.nn.pad(x, [0, 0, 0, 0, top, bottom, left, right], pad_value=value))


@st.composite
def convolutions(draw):
    """Draw a window, the height and width of data it fits into, and everything else."""
    kernel, dilation = draw(PAIR), draw(PAIR)
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    borders = (padding[0] + padding[2], padding[1] + padding[3])
    height, width = (
        max(1, span - border) + draw(st.integers(0, 3))
        for span, border in zip(spans, borders, strict=True)
    )
    return {
        "sizes": (draw(st.integers(1, 2)), height, width, draw(st.integers(1, 70))),
        "filters": (draw(st.integers(1, 40)), *kernel),
        "options": {"strides": draw(PAIR), "padding": padding, "dilation": dilation},
        "pad_value": draw(st.sampled_from((-1, 1))),
        "seed": draw(SEED),
        "target": draw(TARGET),
    }


def check_convolution(sizes, filters, options, pad_value, seed, target):
    x, w = random_signs(seed, *sizes), random_signs(seed + 1, *filters, sizes[-1])
    oihw = np.ascontiguousarray(w.transpose(to_nchw))
    strides, dilation = options["strides"], options["dilation"]

    def body(g, data):
        padded = pad(g, g.sign(data), options["padding"], float(pad_value))
        return g.conv(padded, oihw, strides=strides, dilation=dilation)

    data = np.ascontiguousarray(x.transpose(to_nchw))
    mod = module(body, data.shape)
    assert "bitserial_conv2d" in kernel_kinds(lower(mod, target))
    (dot,) = run_lowered(mod, [data], target)
    agree = reference.binary_conv2d(x, w, **options, pad_value=pad_value)
    np.testing.assert_array_equal(dot.transpose(to_nhwc), 2 * agree - w[0].size)


@SETTINGS
@given(convolutions())
def test_convolution(case):
    check_convolution(**case)


@pytest.mark.slow
@SWEEP
@given(convolutions())
def test_convolution_sweep(case):
    check_convolution(**case)


@SETTINGS
@given(st.integers(1, 4), st.integers(1, 300), st.integers(1, 40), SEED, TARGET)
def test_dense(batch, inputs, units, seed, target):
    x, w = random_signs(seed, batch, inputs), random_signs(seed + 1, units, inputs)
    weight = np.ascontiguousarray(w.T)
    mod = module(lambda g, data: g.dense(g.sign(data), weight), x.shape)
    assert "bitserial_dense" in kernel_kinds(lower(mod, target))
    (dot,) = run_lowered(mod, [x], target)
    np.testing.assert_array_equal(dot, 2 * reference.binary_dense(x, w) - inputs)


@pytest.mark.parametrize("target", COUNTING_TARGETS)
@pytest.mark.parametrize("channels", (1, 33))
def test_dense_of_flattened_images(channels, target):
    """Flattening is (channel, row, column) in the model whatever the layout inside."""
    x, w = random_signs(1, 2, channels, 3, 2), random_signs(2, 5, channels * 6)

    def body(g, data):
        images = g.conv(data, np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1))
        return g.dense(g(op.reshape(g.sign(images), (2, channels * 6))), w.T.copy())

    (dot,) = run_lowered(module(body, x.shape), [x], target)
    agree = reference.binary_dense(x.reshape(2, -1), w)
    np.testing.assert_array_equal(dot, 2 * agree - channels * 6)


@pytest.mark.parametrize("target", COUNTING_TARGETS)
def test_sums_longer_than_a_byte(target):
    """All positions disagree: the largest count there is."""
    x, w = np.ones((1, 512, 3, 3), np.float32), -np.ones((4, 512, 3, 3), np.float32)
    matrix = -np.ones((512, 4), np.float32)

    def body(g, data):
        signs = g.sign(data)
        row = g(op.reshape(g(op.strided_slice(signs, [2, 3], [0, 0], [1, 1])), (1, 512)))
        return [g.conv(signs, w), g.dense(row, matrix)]

    convolved, multiplied = run_lowered(module(body, x.shape), [x], target)
    assert np.all(convolved == -9 * 512) and np.all(multiplied == -512)


POOLS = {
    "halves": ((2, 2), (2, 2), (0, 0, 0, 0), False),
    "uneven": ((3, 2), (2, 1), (1, 0, 1, 1), False),
    "overlapping": ((3, 3), (2, 2), (1, 1, 1, 1), False),
    "flat": ((1, 5), (1, 3), (0, 2, 0, 2), False),
    "rounded up": ((2, 2), (2, 2), (0, 0, 0, 0), True),
}


@pytest.mark.parametrize("channels, target", list(zip((5, 32, 41), TARGETS, strict=True)))
def test_max_pool_of_signs(channels, target):
    x = random_signs(3, 2, channels, 7, 5)
    x[0] = -1

    def body(g, data):
        signs = g.sign(g.conv(data, np.eye(channels, dtype=np.float32)[:, :, None, None]))
        return [
            g(op.nn.max_pool2d(signs, size, strides, padding, ceil_mode=ceil))
            for size, strides, padding, ceil in POOLS.values()
        ]

    mod = module(body, x.shape)
    assert "bitserial_max_pool2d" in kernel_kinds(lower(mod, target))
    for (size, strides, padding, ceil), y in zip(
        POOLS.values(), run_lowered(mod, [x], target), strict=True
    ):
        nhwc = x.transpose(to_nhwc)
        if ceil:
            nhwc = np.pad(nhwc, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=-1)
        expected = reference.max_pool2d(nhwc, size, strides, padding)
        np.testing.assert_array_equal(y.transpose(to_nhwc), expected)
