"""Layers of several bits against integer sums, for every pair of widths and every target."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from relax_harness import COUNTING_TARGETS, TARGETS, kernel_kinds, lower, module, run_lowered
from tvm import relax

from bnn_tvm import reference

BITS = (1, 2, 4, 8)
PAIRS = tuple(itertools.product(BITS, BITS))
SHAPE = (2, 37, 5, 4)
OPTIONS = {"strides": (2, 1), "dilation": (1, 2)}

# Every target and kind of data; fast are those that cover each once.
EACH = [
    pytest.param(signed, target, marks=() if fast else pytest.mark.slow)
    for target, kinds in zip(TARGETS, ((False,), (True,), (False,)), strict=True)
    for signed in (False, True)
    for fast in [signed in kinds]
]


def levels(bits: int) -> int:
    return 2**bits - 1


def indices(x: np.ndarray, bits: int) -> np.ndarray:
    """Which level each value is rounded to, halves away from 0."""
    scaled = np.clip(x, 0, 1) * np.float32(levels(bits))
    return np.floor(scaled + np.float64(0.5)).astype(np.int64)


def weights(bits: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw odd or even integers -V, -V + 2 ... V, and the float weights that they stand for."""
    rng = np.random.default_rng(bits)
    integers = 2 * rng.integers(0, levels(bits), shape, endpoint=True) - levels(bits)
    return integers, (integers / levels(bits)).astype(np.float32)


def data(seed: int, *shape: int) -> np.ndarray:
    """Draw numbers inside and outside of [0, 1]."""
    return np.random.default_rng(seed).uniform(-0.2, 1.2, shape).astype(np.float32)


def integers_of(x: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    index = indices(x, bits)
    return 2 * index - levels(bits) if signed else index


def assert_sums(y: np.ndarray, sums: np.ndarray, bits_a: int, bits_w: int) -> None:
    """Check float32 results against whole sums, which the kernel divides once."""
    divisor = np.float32(levels(bits_a) * levels(bits_w))
    np.testing.assert_array_equal(y, sums.astype(np.float32) / divisor)


@pytest.mark.parametrize("signed, target", EACH)
def test_convolution_sums_are_exact(signed, target):
    filters = {bits: weights(bits, 6, 37, 3, 2) for bits in BITS}

    def body(g, x):
        quantized = {bits: g.quantize(x, bits, signed) for bits in BITS}
        return [g.conv(quantized[a], filters[w][1], **OPTIONS) for a, w in PAIRS]

    mod, x = module(body, SHAPE), data(1, *SHAPE)
    assert "conv2d" not in kernel_kinds(lower(mod, target))
    for (a, w), y in zip(PAIRS, run_lowered(mod, [x], target), strict=True):
        sums = reference.conv2d(
            integers_of(x, a, signed).transpose(0, 2, 3, 1),
            filters[w][0].transpose(0, 2, 3, 1),
            **OPTIONS,
        )
        assert_sums(y.transpose(0, 2, 3, 1), sums, a, w)


@pytest.mark.parametrize("signed, target", EACH)
def test_dense_sums_are_exact(signed, target):
    columns = {bits: weights(bits, 70, 9) for bits in BITS}

    def body(g, x):
        quantized = {bits: g.quantize(x, bits, signed) for bits in BITS}
        return [g.dense(quantized[a], columns[w][1]) for a, w in PAIRS]

    mod, x = module(body, (3, 70)), data(2, 3, 70)
    assert "dense" not in kernel_kinds(lower(mod, target))
    for (a, w), y in zip(PAIRS, run_lowered(mod, [x], target), strict=True):
        sums = reference.dense(integers_of(x, a, signed), columns[w][0].T)
        assert_sums(y, sums, a, w)


@pytest.mark.parametrize("target", COUNTING_TARGETS)
def test_the_largest_sums(target):
    """Every plane disagrees or agrees everywhere."""
    x = np.stack([np.zeros(3000, np.float32), np.ones(3000, np.float32)])
    column = np.tile(np.array([[-1.0, 1.0]], np.float32), (3000, 1))
    # A third level, so that the weights are of 8 bits.
    column[0] = 1 - 2 / 255

    def body(g, x):
        return [g.dense(g.quantize(x, 8, signed), column) for signed in (False, True)]

    unsigned, signed = run_lowered(module(body, x.shape), [x], target)
    sums = np.rint(column.astype(np.float64) * 255).sum(axis=0) * 255
    assert_sums(unsigned, np.stack([0 * sums, sums]), 8, 8)
    assert_sums(signed, np.stack([-sums, sums]), 8, 8)


@pytest.mark.parametrize("target", COUNTING_TARGETS)
@pytest.mark.parametrize("bits", ((1, 1), (2, 3)))
def test_dense_of_flattened_images(bits, target):
    """Flattening is (channel, row, column) in the model whatever the layout inside."""
    integers, column = weights(bits[1], 33 * 6, 5)
    identity = np.eye(33, dtype=np.float32)[:, :, None, None]

    def body(g, x):
        images = g.quantize(g.conv(x, identity), bits[0])
        return g.dense(g(relax.op.reshape(images, (2, 33 * 6))), column)

    x = data(3, 2, 33, 3, 2)
    mod = module(body, x.shape)
    assert "bitserial_dense" in kernel_kinds(lower(mod, target))
    (y,) = run_lowered(mod, [x], target)
    assert_sums(y, reference.dense(indices(x, bits[0]).reshape(2, -1), integers.T), *bits)
