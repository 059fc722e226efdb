"""Threshold folding: every count, every neighbour of a float threshold, and whole modules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_harness import assert_same, module, operators, random_floats, random_signs, run
from tvm import relax

from bnn_tvm.passes.convert_layout import convert_layout
from bnn_tvm.passes.fold_thresholds import fold_thresholds, threshold_of_counts, threshold_of_floats
from bnn_tvm.reference import det_sign

op = relax.op
CHANNELS = 9
NUMBERS = st.one_of(
    st.floats(-50, 50, width=32),
    st.sampled_from([0.0, -0.0, 1e30, -1e30, 1e-30, -1e-30, 0.5, -0.5]),
)
VECTORS = st.lists(NUMBERS, min_size=CHANNELS, max_size=CHANNELS)


def batch_norm(gamma, mean, beta):
    """The map of a batch normalization as the importer writes it, one rounding a step."""
    g, m, b = (np.asarray(v, np.float32) for v in (gamma, mean, beta))

    def apply(values):
        with np.errstate(all="ignore"):
            return (values - m) * g + b

    return apply


def sign_of(threshold, values):
    """What a threshold says of (values, channels)."""
    above, below = values >= threshold.at, values <= threshold.at
    return np.where(np.where(threshold.flipped, below, above), 1, -1)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 70), VECTORS, VECTORS, VECTORS)
def test_every_count_gets_the_sign_of_the_float_graph(fan_in, gamma, mean, beta):
    chain = batch_norm(gamma, mean, beta)
    dots = np.arange(-fan_in, fan_in + 1, 2, dtype=np.float32)[:, None].repeat(CHANNELS, 1)
    threshold = threshold_of_counts(chain, fan_in, CHANNELS)
    np.testing.assert_array_equal(sign_of(threshold, dots), det_sign(chain(dots)))
    assert np.all(np.abs(threshold.at) <= fan_in + 2)


def test_sign_of_zero_is_one_in_rising_and_falling_channels():
    threshold = threshold_of_counts(batch_norm([1, -1], [4, 4], [0, 0]), 10, 2)
    np.testing.assert_array_equal(threshold.at, [4, 4])
    np.testing.assert_array_equal(threshold.flipped, [False, True])


def test_constant_channels_lie_outside_the_counts():
    threshold = threshold_of_counts(batch_norm([0, 0, 1, -1], [0] * 4, [1, -1, 99, -99]), 8, 4)
    assert not threshold.flipped.any()
    np.testing.assert_array_equal(threshold.at, [-8, 10, -8, 10])


def test_counts_that_change_sign_twice_are_not_folded():
    assert threshold_of_counts(lambda values: values * values - 5, 8, 3) is None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VECTORS, VECTORS, VECTORS)
def test_float_thresholds_are_exact_to_the_last_bit(gamma, mean, beta):
    chain = batch_norm(gamma, mean, beta)
    threshold = threshold_of_floats(chain, CHANNELS)
    at = np.where(np.isfinite(threshold.at), threshold.at, 0).astype(np.float32)
    near = [at, np.nextafter(at, np.float32(-np.inf)), np.nextafter(at, np.float32(np.inf))]
    far = [np.full(CHANNELS, v, np.float32) for v in (0, -1e-38, 1, -1, 3e4, -3e4, 9e29, -9e29)]
    values = np.stack([*near, *far])
    np.testing.assert_array_equal(sign_of(threshold, values), det_sign(chain(values)))


def test_float_thresholds_through_an_activation():
    def chain(values):
        return np.tanh(values * np.float32([2, -2])) - np.float32([0.3, 0.3])

    threshold = threshold_of_floats(chain, 2)
    for step in (-np.inf, np.inf):
        values = np.stack([threshold.at, np.nextafter(threshold.at, np.float32(step))])
        np.testing.assert_array_equal(sign_of(threshold, values), det_sign(chain(values)))


def test_a_chain_that_overflows_to_no_number_is_not_folded():
    def chain(values):
        with np.errstate(all="ignore"):
            return values * np.float32(1e20) * np.float32(0) - np.float32(1)

    assert threshold_of_floats(chain, 3) is None


def fold(body, *shapes):
    """Fold thresholds of a module; return it before (in NHWC) and after."""
    before = convert_layout(module(body, *shapes))
    return before, fold_thresholds(before)


def gammas(channels):
    """Scales of every kind: rising, falling, zero, tiny, huge."""
    gamma = random_floats(3, channels)
    gamma[:4] = [0.0, -1e-20, 1e20, -1e20]
    return gamma


def assert_folded(body, expected, *shapes):
    before, after = fold(body, *shapes)
    assert operators(after) == expected
    inputs = [random_floats(i, *shape) for i, shape in enumerate(shapes)]
    assert_same(run(before, inputs), run(after, inputs))


SIGN = ["less", "where"]


def test_binary_convolution_with_batch_norm():
    def body(g, x):
        dot = g.conv(g.sign(x), random_signs(1, 12, 5, 3, 3))
        count = g(op.divide(g(op.add(dot, relax.const(45.0))), relax.const(2.0)))
        centred = g(op.subtract(count, relax.const(random_floats(2, 1, 12, 1, 1) + 22)))
        return g.sign(g.affine(centred, gammas(12), random_floats(4, 12)))

    layer = [*SIGN, "permute_dims", "nn.conv2d", "subtract", *SIGN, "permute_dims"]
    assert_folded(body, layer, (2, 5, 6, 6))


def test_binary_dense_with_batch_norm():
    def body(g, x):
        dot = g.dense(g.sign(x), random_signs(1, 37, 20))
        return g.sign(g.affine(dot, gammas(20), random_floats(4, 20)))

    assert_folded(body, [*SIGN, "matmul", "subtract", *SIGN], (8, 37))


def test_float_layers_turn_falling_channels_around_in_their_weights():
    def body(g, x):
        return g.sign(g.affine(g.dense(x, random_floats(1, 7, 20)), gammas(20), gammas(20)[::-1]))

    assert_folded(body, ["matmul", "subtract", *SIGN], (8, 7))


def test_without_a_layer_the_difference_is_turned_around():
    def body(g, x):
        return g.sign(g(op.tanh(g.affine(x, gammas(20), random_floats(4, 20)))))

    assert_folded(body, ["subtract", "multiply", *SIGN], (8, 20))


def test_a_shared_layer_keeps_its_weights():
    def body(g, x):
        dot = g.dense(g.sign(x), random_signs(1, 37, 20))
        return [g.sign(g.affine(dot, gammas(20), random_floats(4, 20))), dot]

    assert_folded(body, [*SIGN, "matmul", "subtract", "multiply", *SIGN], (8, 37))


@pytest.mark.parametrize(
    "body, shape",
    [
        (lambda g, x: g.sign(g(op.add(x, relax.const(random_floats(1, 7))))), (5, 1)),
        (lambda g, x: g.sign(g(op.multiply(x, relax.const(random_floats(1, 5, 1))))), (5, 7)),
        (lambda g, x: g.sign(g(op.subtract(g(op.sqrt(x)), relax.const(0.5)))), (5, 7)),
        (lambda g, x: g.sign(g(op.subtract(g(op.abs(x)), relax.const(0.5)))), (5, 7)),
        (lambda g, x: g.sign(g(op.divide(relax.const(1.0), x))), (5, 7)),
    ],
    ids=["broadcast", "per row", "sqrt", "abs", "reciprocal"],
)
def test_what_is_not_monotone_in_a_channel_is_left(body, shape):
    before, after = fold(body, shape)
    assert operators(after) == operators(before)
    x = random_floats(0, *shape)
    assert_same(run(before, [x]), run(after, [x]))
