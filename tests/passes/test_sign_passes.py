"""Passes on signs and activations: what they rewrite, what they leave, and that both run alike."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import assert_same, module, operators, random_floats, random_signs, run
from tvm import relax

from bnn_tvm.passes.canonicalize_sign import canonicalize_sign
from bnn_tvm.passes.dataflow import constant_of, main_result
from bnn_tvm.passes.fold_constants import fold_constants
from bnn_tvm.passes.hoist_sign import hoist_sign
from bnn_tvm.passes.sink_activation import sink_activation

op = relax.op
SHAPE = (2, 3, 6, 5)
SIGN = ["less", "where"]


def with_zeros(*shape):
    """Numbers of both signs with zeros of both signs among them."""
    x = random_floats(0, *shape)
    x.reshape(-1)[:4] = [0.0, -0.0, 1e-38, -1e-38]
    return x


def assert_rewritten(apply, body, expected, *shapes, atol=0.0):
    """Check the operators that are left, and that the results are equal, by default to the bit."""
    before = module(body, *shapes)
    after = apply(before)
    assert operators(after) == expected
    inputs = [with_zeros(*shape) for shape in shapes]
    assert_same(run(before, inputs), run(after, inputs), atol)


def stock_sign(g, x):
    signed = g(op.sign(x))
    return g(op.add(signed, g(op.astype(g(op.equal(x, relax.const(0.0))), "float32"))))


def stock_sign_of_sign(g, x):
    signed = g(op.sign(x))
    is_zero = g(op.astype(g(op.equal(signed, relax.const(0.0))), "float32"))
    return g(op.add(is_zero, signed))


@pytest.mark.parametrize("body", [stock_sign, stock_sign_of_sign])
def test_stock_spellings_of_sign_become_the_canonical_one(body):
    assert_rewritten(canonicalize_sign, body, SIGN, SHAPE)


def test_sign_plus_another_test_for_zero_is_left_alone():
    def body(g, x, y):
        return g(op.add(g(op.sign(x)), g(op.astype(g(op.equal(y, relax.const(0.0))), "float32"))))

    assert_rewritten(canonicalize_sign, body, ["sign", "equal", "astype", "add"], SHAPE, SHAPE)


def test_gradcancel_disappears():
    def body(g, x):
        inside = g(op.less_equal(g(op.abs(x)), relax.const(1.0)))
        return g.sign(g(op.where(inside, x, x)))

    assert_rewritten(canonicalize_sign, body, SIGN, SHAPE)


def test_a_difference_of_equals_disappears_unless_it_broadcasts():
    def adds_nothing(g, x):
        y = g(op.multiply(x, relax.const(2.0)))
        return g(op.add(x, g(op.subtract(y, y))))

    def broadcasts(g, x, wide):
        return g(op.add(x, g(op.subtract(wide, wide))))

    before = module(adds_nothing, SHAPE)
    assert operators(canonicalize_sign(before)) == []
    assert_rewritten(canonicalize_sign, broadcasts, ["subtract", "add"], (1, 4), (3, 4))


def test_what_depends_on_constants_only_is_computed():
    weight = random_floats(1, 4, 3, 3, 3)

    def body(g, x):
        scale = g(op.mean(g(op.abs(relax.const(weight))), axis=[1, 2, 3], keepdims=True))
        scale = g(op.permute_dims(scale, (1, 0, 2, 3)))
        signs = g.sign(relax.const(weight))
        clipped = g(op.clip(scale, 0.1, 0.9))
        return g(op.multiply(g(op.nn.conv2d(x, signs)), g(op.reshape(clipped, (1, 4, 1, 1)))))

    assert_rewritten(fold_constants, body, ["nn.conv2d", "multiply"], SHAPE, atol=1e-5)


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda c: op.less(c, relax.const(0.0)), np.array([True, False, False])),
        (lambda c: op.sum(c), np.float32(1.5)),
        (lambda c: op.max(c, keepdims=True), np.array([3.0], np.float32)),
        (lambda c: op.astype(c, "int32"), np.array([-1, 0, 3], np.int32)),
        (lambda c: op.sign(c), np.array([-1, 0, 1], np.float32)),
        (lambda c: op.permute_dims(c), np.array([-1.5, 0, 3], np.float32)),
        (lambda c: op.divide(c, relax.const(0.0)), np.array([-np.inf, np.nan, np.inf])),
        (lambda c: op.nn.relu(c), np.array([0, 0, 3], np.float32)),
    ],
)
def test_folded_constants_keep_value_and_dtype(make, expected):
    constant = relax.const(np.array([-1.5, 0.0, 3.0], np.float32))
    (result,) = main_result(fold_constants(module(lambda g, x: g(make(constant)), (1,))))
    np.testing.assert_array_equal(constant_of(result), expected)
    dtype = expected.dtype if expected.dtype != np.float64 else np.float32
    assert constant_of(result).dtype == dtype


MOVERS = {
    "reshape": lambda g, x: g(op.reshape(x, (2, 90))),
    "permute_dims": lambda g, x: g(op.permute_dims(x, (0, 2, 3, 1))),
    "nn.max_pool2d": lambda g, x: g(op.nn.max_pool2d(x, (3, 2), (2, 2), (1, 1, 1, 1))),
}


@pytest.mark.parametrize("name", MOVERS)
def test_sign_is_taken_before_data_moves(name):
    assert_rewritten(hoist_sign, lambda g, x: g.sign(MOVERS[name](g, x)), [*SIGN, name], SHAPE)


@pytest.mark.parametrize("value, sign", [(-3.0, -1.0), (0.0, 1.0), (-0.0, 1.0), (2.0, 1.0)])
def test_sign_of_a_border_is_the_sign_of_its_value(value, sign):
    def body(g, x):
        return g.sign(g.pad(x, 1, value))

    assert_rewritten(hoist_sign, body, [*SIGN, "nn.pad"], SHAPE)
    (corner,) = run(hoist_sign(module(body, SHAPE)), [with_zeros(*SHAPE)])
    assert corner[0, 0, 0, 0] == sign


def test_sign_passes_several_movers():
    def body(g, x):
        return g.sign(MOVERS["reshape"](g, MOVERS["permute_dims"](g, g.pad(x, 0, 1.0))))

    assert_rewritten(hoist_sign, body, [*SIGN, "nn.pad", "permute_dims", "reshape"], SHAPE)


def test_what_is_also_read_as_a_number_stays():
    def body(g, x):
        pooled = MOVERS["nn.max_pool2d"](g, x)
        return [g.sign(pooled), pooled]

    assert_rewritten(hoist_sign, body, ["nn.max_pool2d", *SIGN], SHAPE)


@pytest.mark.parametrize(
    "activation",
    [op.tanh, op.sigmoid, op.nn.relu, lambda x: op.clip(x, -0.5, 0.5)],
    ids=["tanh", "sigmoid", "relu", "clip"],
)
def test_activation_follows_the_pooling(activation):
    def body(g, x):
        return MOVERS["nn.max_pool2d"](g, g(activation(x)))

    after = sink_activation(module(body, SHAPE))
    assert operators(after)[0] == "nn.max_pool2d"
    x = with_zeros(*SHAPE)
    assert_same(run(module(body, SHAPE), [x]), run(after, [x]), atol=1e-6)


def test_a_falling_or_shared_activation_stays():
    def falling(g, x):
        return MOVERS["nn.max_pool2d"](g, g(op.negative(x)))

    def shared(g, x):
        active = g(op.nn.relu(x))
        return [MOVERS["nn.max_pool2d"](g, active), active]

    assert_rewritten(sink_activation, falling, ["negative", "nn.max_pool2d"], SHAPE)
    assert_rewritten(sink_activation, shared, ["nn.relu", "nn.max_pool2d"], SHAPE)


def test_dead_code_goes():
    def body(g, x):
        g.conv(x, random_signs(0, 4, 3, 1, 1))
        return g.sign(x)

    for apply in (canonicalize_sign, fold_constants, hoist_sign, sink_activation):
        assert operators(apply(module(body, SHAPE))) == SIGN
