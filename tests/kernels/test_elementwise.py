"""Functions of one element against numpy in float64, and every operator against its evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import assert_same, module, random_floats, run, run_kernel, run_lowered
from tvm import relax, te

from bnn_tvm.kernels.elementwise import SCALAR_OPS, sigmoid, tanh
from bnn_tvm.kernels.stages import RESULT
from bnn_tvm.passes.evaluate import _ELEMENTWISE

op = relax.op


def apply(function, x):
    data = te.placeholder(x.shape, "float32", "data")
    result = te.compute(x.shape, lambda *i: function(data(*i)), name=RESULT)
    return run_kernel(te.create_prim_func([data, result]), [x])[0]


@pytest.fixture(scope="module")
def numbers():
    dense = np.linspace(-12, 12, 200_001)
    small = np.logspace(-38, 1, 20_000)
    extremes = [0.0, -0.0, 1e30, -1e30, np.inf, -np.inf, 9.02, -9.02]
    return np.concatenate([dense, small, -small, extremes]).astype(np.float32)


def test_tanh_is_accurate_to_the_last_places(numbers):
    y, exact = apply(tanh, numbers), np.tanh(numbers.astype(np.float64))
    assert np.abs(y - exact).max() < 1.2e-7
    relative = np.abs(y - exact) / np.maximum(np.abs(exact), 1e-37)
    assert relative.max() < 3e-7
    assert np.abs(y).max() == 1
    np.testing.assert_array_equal(y, -apply(tanh, -numbers))
    np.testing.assert_array_equal(y < 0, exact < 0)


def test_sigmoid_is_accurate_and_in_bounds(numbers):
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-numbers.astype(np.float64)))
    y = apply(sigmoid, numbers)
    assert np.abs(y - exact).max() < 1.2e-7
    assert y.min() >= 0 and y.max() <= 1


def test_every_operator_of_an_epilogue_can_be_folded():
    assert set(SCALAR_OPS) == {*_ELEMENTWISE, "clip", "astype"}


UNARY = ["abs", "negative", "sign", "floor", "ceil", "exp", "log", "sqrt", "tanh", "sigmoid"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "minimum"]
COMPARISONS = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]


def every_operator(g, x, y):
    positive = g(op.add(g(op.abs(x)), relax.const(0.5)))
    results = [g(getattr(op, name)(positive)) for name in UNARY if name in ("log", "sqrt")]
    results += [g(getattr(op, name)(x)) for name in UNARY if name not in ("log", "sqrt")]
    results += [g(getattr(op, name)(x, y)) for name in BINARY]
    tests = [g(getattr(op, name)(x, y)) for name in COMPARISONS]
    both = g(op.logical_and(tests[0], g(op.logical_not(tests[4]))))
    either = g(op.logical_or(both, tests[2]))
    results += [g(op.astype(test, "float32")) for test in [*tests, both, either]]
    results += [g(op.power(positive, y)), g(op.where(tests[0], x, y))]
    results += [g(op.nn.relu(x)), g(op.clip(x, -0.5, 0.25))]
    return results


def test_every_operator_agrees_with_the_operator_library():
    x, y = random_floats(0, 3, 40), random_floats(1, 3, 40)
    y[:, :5] = x[:, :5]
    x[0, :2] = [0.0, -0.0]
    mod = module(every_operator, x.shape, y.shape)
    assert_same(run(mod, [x, y]), run_lowered(mod, [x, y]), atol=1e-6)
