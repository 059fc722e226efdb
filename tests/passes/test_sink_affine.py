"""A BatchNorm moves behind the pooling: not one bit changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_harness import assert_same, module, operators, random_floats, random_signs, run
from tvm import relax

from bnn_tvm.passes.convert_layout import convert_layout
from bnn_tvm.passes.sink_affine import sink_affine

op = relax.op
SHAPE = (2, 3, 9, 9)
SETTINGS = settings(max_examples=20, deadline=None, derandomize=True)
BEFORE = ["nn.conv2d", "subtract", "multiply", "add", "nn.max_pool2d"]
BEHIND = ["nn.conv2d", "nn.max_pool2d", "subtract", "multiply", "add"]
CHANNELS = 4


def pool(g, y):
    return g(op.nn.max_pool2d(y, (3, 3), (2, 2), padding=1))


def per_channel(values):
    return relax.const(np.asarray(values, np.float32).reshape(1, -1, 1, 1))


def conv(g, x):
    return g.conv(x, random_floats(1, CHANNELS, 3, 3, 3), padding=1)


def batch_norm(g, y, factors):
    y = g(op.subtract(y, per_channel(random_floats(2, CHANNELS))))
    y = g(op.multiply(y, per_channel(factors)))
    return g(op.add(y, per_channel(random_floats(3, CHANNELS))))


def convolutions(mod):
    """List what is computed, without the changes of layout at the border."""
    return [name for name in operators(mod) if name != "permute_dims"]


def sink(body):
    """Move what may move; check that every bit stays."""
    before = convert_layout(module(body, SHAPE))
    after = sink_affine(before)
    x = [random_floats(0, *SHAPE)]
    assert_same(run(before, x), run(after, x))
    return convolutions(before), convolutions(after)


@SETTINGS
@given(st.lists(st.sampled_from([0.5, 1.3, -0.7, -2.0]), min_size=CHANNELS, max_size=CHANNELS))
def test_factors_of_any_sign(factors):
    assert sink(lambda g, x: pool(g, batch_norm(g, conv(g, x), factors))) == (BEFORE, BEHIND)


def test_products_one_after_the_other():
    def body(g, x):
        y = g(op.multiply(conv(g, x), relax.const(-1.5)))
        return pool(g, batch_norm(g, y, [1, -1, 2, -2]))

    _, after = sink(body)
    assert after[:2] == ["nn.conv2d", "nn.max_pool2d"] and after.count("multiply") == 2


def test_what_follows_an_activation_moves_with_it_only():
    def body(g, x):
        return pool(g, batch_norm(g, g(op.nn.relu(conv(g, x))), [1, 1, 1, 1]))

    before, after = sink(body)
    assert before == after


@pytest.mark.parametrize("factors", [[1, 0, 1, 1], [-1, 1, 0, 1]], ids=str)
def test_a_channel_of_one_number_stays(factors):
    before, after = sink(lambda g, x: pool(g, batch_norm(g, conv(g, x), factors)))
    assert before == after


def test_numbers_of_each_place_stay():
    def body(g, x):
        places = relax.const(random_floats(4, 1, 1, 9, 9))
        return pool(g, g(op.multiply(conv(g, x), places)))

    before, after = sink(body)
    assert before == after


def test_what_is_read_elsewhere_stays():
    def layer_is_read(g, x):
        y = conv(g, x)
        return [y, pool(g, batch_norm(g, y, [1, 1, 1, 1]))]

    def sum_is_read(g, x):
        y = batch_norm(g, conv(g, x), [1, 1, 1, 1])
        return [y, pool(g, y)]

    for body in (layer_is_read, sum_is_read):
        before, after = sink(body)
        assert before == after


def test_layers_on_bits_stay():
    def body(g, x):
        y = g.conv(g.sign(x), random_signs(1, CHANNELS, 3, 3, 3))
        return pool(g, batch_norm(g, y, [1, 1, 1, 1]))

    before, after = sink(body)
    assert before == after
