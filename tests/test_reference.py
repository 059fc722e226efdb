"""The oracle itself against loops written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn_tvm import reference as ref


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return ref.det_sign(rng.standard_normal(shape))


def loop_conv2d(x, w, strides, dilation, groups=1):
    """Convolve a padded NHWC array with seven plain loops."""
    n, height, width, _ = x.shape
    out, kh, kw, per_group = w.shape
    oh = (height - (kh - 1) * dilation[0] - 1) // strides[0] + 1
    ow = (width - (kw - 1) * dilation[1] - 1) // strides[1] + 1
    y = np.zeros((n, oh, ow, out))
    for b, i, j, o, k, m, c in np.ndindex(n, oh, ow, out, kh, kw, per_group):
        channel = o // (out // groups) * per_group + c
        row, column = i * strides[0] + k * dilation[0], j * strides[1] + m * dilation[1]
        y[b, i, j, o] += float(x[b, row, column, channel]) * float(w[o, k, m, c])
    return y


def test_det_sign_of_zero_negative_zero_and_nan():
    x = np.array([-1e-30, -0.0, 0.0, 2.0, np.nan, -np.inf], np.float32)
    y = ref.det_sign(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [-1, 1, 1, 1, 1, -1])


def test_pack_puts_the_first_channel_in_the_lowest_bit():
    x = -np.ones((1, 33), np.float32)
    x[0, [0, 31, 32]] = (1, np.nan, 0)
    np.testing.assert_array_equal(ref.pack_channels(x), [[0x80000001, 1]])


@given(st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_unpack_undoes_pack(channels, seed):
    x = signs(np.random.default_rng(seed), 2, 3, channels)
    words = ref.pack_channels(x)
    assert words.dtype == np.uint32 and words.shape == (2, 3, -(-channels // 32))
    np.testing.assert_array_equal(ref.unpack_channels(words, channels), x)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    "strides, dilation", [((1, 1), (1, 1)), ((2, 1), (1, 2)), ((3, 2), (2, 1))]
)
def test_conv2d_equals_loops(groups, strides, dilation):
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((2, 6, 7, 4)), rng.standard_normal((6, 3, 2, 4 // groups))
    padded = np.pad(x, ((0, 0), (1, 0), (2, 3), (0, 0)), constant_values=0.5)
    expected = loop_conv2d(padded, w, strides, dilation, groups)
    y = ref.conv2d(x, w, strides, (1, 2, 0, 3), dilation, groups, pad_value=0.5)
    np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("pad_value", [-1, 1])
@pytest.mark.parametrize("channels", [1, 7, 32, 40])
def test_binary_conv2d_is_half_of_dot_plus_n(pad_value, channels):
    rng = np.random.default_rng(channels)
    x, w = signs(rng, 2, 5, 4, channels), signs(rng, 3, 3, 2, channels)
    y = ref.binary_conv2d(x, w, (2, 1), (1, 0, 2, 1), (1, 2), pad_value)
    dot = ref.conv2d(x, w, (2, 1), (1, 0, 2, 1), (1, 2), pad_value=pad_value)
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, (dot + 6 * channels) / 2)


def test_binary_dense_counts_agreements():
    rng = np.random.default_rng(5)
    x, w = signs(rng, 4, 70), signs(rng, 9, 70)
    agreements = (x[:, None] == w[None]).sum(axis=-1)
    np.testing.assert_array_equal(ref.binary_dense(x, w), agreements)
    np.testing.assert_array_equal((ref.dense(x, w) + 70) / 2, agreements)


def test_batch_norm_on_the_named_axis():
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    c = [np.array(v, np.float32) for v in ((1, 2, -1), (0, 1, 2), (3, 0, 1), (4, 1, 0))]
    y = ref.batch_norm(x, *c, eps=1.0, axis=1)
    assert y[1, 2, 0] == pytest.approx((10 - 1) / 1.0 * -1 + 2)
    assert y[0, 0, 1] == pytest.approx((1 - 3) / 5**0.5)


def test_pools_on_a_padded_corner():
    x = -np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    padding = (1, 1, 0, 0)
    best = ref.max_pool2d(x, (2, 2), (2, 2), padding)[0, :, :, 0]
    np.testing.assert_array_equal(best, [[-1, -2], [-4, -5]])
    counted = ref.avg_pool2d(x, (2, 2), (2, 2), padding)[0, :, :, 0]
    np.testing.assert_array_equal(counted, [[-0.25, -1.25], [-2.75, -7]])
    inside = ref.avg_pool2d(x, (2, 2), (2, 2), padding, count_include_pad=False)[0, :, :, 0]
    np.testing.assert_array_equal(inside, [[-1, -2.5], [-5.5, -7]])


def test_threshold_covers_every_count_and_constant_channels():
    counts = np.arange(11)[:, None]
    slopes, shifts = np.array([1, -1, 0, 0, 1, -1, 2]), np.array([-4, 4, 0, -1, 99, -99, -20])
    values = (counts * slopes + shifts).astype(np.float32)
    threshold, flipped = ref.integer_threshold(values)
    np.testing.assert_array_equal((counts >= threshold) != flipped, values >= 0)
    np.testing.assert_array_equal(threshold, [4, 5, 0, 11, 0, 11, 10])
    np.testing.assert_array_equal(flipped, [False, True] + [False] * 5)


def test_threshold_refuses_a_sign_that_changes_twice():
    values = np.array([[1.0, 1], [-1, 1], [1, -1]])
    with pytest.raises(ValueError, match=r"channels \[0\]"):
        ref.integer_threshold(values)
