import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bnn_tvm.gluon import approx_sign, det_sign, gradcancel, round_ste

EDGES = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, -1.5, 1e-30, -1e-30, 3.0], dtype=np.float32)


def expected_sign(x):
    return np.where(x < 0, -1.0, 1.0)


def test_det_sign_values_are_exact():
    x = np.concatenate([EDGES, [np.inf, -np.inf, np.nan]]).astype(np.float32)
    assert_array_equal(det_sign(mx.nd.array(x)).asnumpy(), expected_sign(x))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
def test_det_sign_keeps_the_dtype(dtype):
    out = det_sign(mx.nd.array([0, 1, 2], dtype=dtype))
    assert out.dtype == np.dtype(dtype)
    assert_array_equal(out.asnumpy(), np.ones(3))


def test_det_sign_passes_the_gradient_unchanged(value_and_gradient, rng):
    head = rng.normal(size=EDGES.shape).astype(np.float32)
    _, gradient = value_and_gradient(det_sign, EDGES, head)
    assert_array_equal(gradient, head)


def test_round_ste_rounds_half_away_from_zero(value_and_gradient, rng):
    x = np.array([0.5, -0.5, 1.5, -1.5, 2.5, 0.49, -7.7, 0.0], dtype=np.float32)
    head = rng.normal(size=x.shape).astype(np.float32)
    value, gradient = value_and_gradient(round_ste, x, head)
    assert_array_equal(value, [1, -1, 2, -2, 3, 0, -8, 0])
    assert_array_equal(gradient, head)


def test_approx_sign_has_the_quadratic_gradient(value_and_gradient, rng):
    x = np.concatenate([EDGES, rng.uniform(-2, 2, 50)]).astype(np.float32)
    head = rng.normal(size=x.shape).astype(np.float32)
    value, gradient = value_and_gradient(approx_sign, x, head)
    assert_array_equal(value, expected_sign(x))
    assert_allclose(gradient, head * (2 - 2 * np.abs(x)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0, 1.5])
def test_gradcancel_is_inclusive(value_and_gradient, rng, threshold):
    edge = np.float32(threshold)
    x = np.concatenate([EDGES, [edge, -edge, np.nextafter(edge, np.float32(9))]])
    head = rng.normal(size=x.shape).astype(np.float32)
    value, gradient = value_and_gradient(lambda data: gradcancel(data, threshold), x, head)
    assert_array_equal(value, x)
    assert_array_equal(gradient, np.where(np.abs(x) <= edge, head, 0))


def test_gradcancel_drops_the_gradient_of_nan(value_and_gradient):
    value, gradient = value_and_gradient(gradcancel, np.array([np.nan, 0.5], dtype=np.float32))
    assert_array_equal(value, [np.nan, 0.5])
    assert_array_equal(gradient, [0, 1])


@pytest.mark.parametrize("function", [det_sign, round_ste, approx_sign, gradcancel])
def test_symbols_compute_the_same(function):
    symbol = mx.sym.load_json(function(mx.sym.var("x")).tojson())
    (out,) = symbol.eval(x=mx.nd.array(EDGES))
    assert_array_equal(out.asnumpy(), function(mx.nd.array(EDGES)).asnumpy())
