import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bnn_tvm.gluon.quantizers import activation_quantizer, weight_quantizer

X = np.array([-3, -1.01, -1, -0.6, -0.2, 0, 0.1, 0.4, 0.77, 1, 1.01, 2.5], dtype=np.float32)
INSIDE = np.abs(X) <= 1
TOLERANCE = {"rtol": 1e-6, "atol": 1e-6}

# method: (values, slopes)
FULL_PRECISION = {
    "identity": (X, np.ones_like(X)),
    "relu": (np.maximum(X, 0), X > 0),
    "clip": (np.clip(X, -1, 1), INSIDE),
    "leaky_clip": (np.where(INSIDE, X, 0.1 * X), np.where(INSIDE, 1, 0.1)),
    "approx_sign": (
        np.where(INSIDE, 2 * X - X * np.abs(X), np.sign(X)),
        np.where(INSIDE, 2 - 2 * np.abs(X), 0),
    ),
}


def round_away(x):
    return np.floor(np.abs(x) + 0.5) * np.sign(x)


@pytest.mark.parametrize("method", sorted(FULL_PRECISION))
def test_full_precision_activations(value_and_gradient, method):
    values, slopes = FULL_PRECISION[method]
    head = np.arange(1, len(X) + 1, dtype=np.float32)
    out, gradient = value_and_gradient(activation_quantizer(method, 32), X, head)
    assert_allclose(out, values, **TOLERANCE)
    assert_allclose(gradient, head * slopes, **TOLERANCE)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8, 16])
def test_round_has_evenly_spaced_levels(value_and_gradient, bits):
    levels = 2**bits - 1
    head = np.arange(1, len(X) + 1, dtype=np.float32)
    out, gradient = value_and_gradient(activation_quantizer("round", bits), X, head)
    scaled = np.clip(X, 0, 1) * np.float32(levels)
    assert_allclose(out, round_away(scaled) / levels, **TOLERANCE)
    assert_allclose(gradient, head * ((X >= 0) & (X <= 1)), **TOLERANCE)


def dorefa(x, bits):
    levels = 2**bits - 1
    squashed = np.tanh(x.astype(np.float64))
    unit = 0.5 * squashed / np.abs(squashed).max() + 0.5
    return 2 * round_away(unit * levels) / levels - 1


def dorefa_gradient(x, head):
    """Of sum(head * tanh(x) / max|tanh(x)|): the rounding is a straight-through identity."""
    squashed = np.tanh(x.astype(np.float64))
    largest = np.abs(squashed).argmax()
    peak = np.abs(squashed[largest])
    inner = head / peak
    inner[largest] -= np.sign(squashed[largest]) * (head * squashed).sum() / peak**2
    return inner * (1 - squashed**2)


@pytest.mark.parametrize("quantizer", [activation_quantizer, weight_quantizer])
@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_dorefa_values_and_gradients(value_and_gradient, rng, quantizer, bits):
    x = rng.normal(size=40).astype(np.float32)
    head = rng.normal(size=40)
    out, gradient = value_and_gradient(quantizer("dorefa", bits), x, head)
    assert_allclose(out, dorefa(x, bits), rtol=0, atol=1e-6)
    assert_allclose(gradient, dorefa_gradient(x, head), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("quantizer", [activation_quantizer, weight_quantizer])
@pytest.mark.parametrize("method", ["det_sign", "sign_approx_sign"])
def test_one_bit_methods_give_signs(value_and_gradient, quantizer, method):
    out, gradient = value_and_gradient(quantizer(method, 1), X)
    assert_array_equal(out, np.where(X < 0, -1, 1))
    slopes = np.ones_like(X) if method == "det_sign" else 2 - 2 * np.abs(X)
    assert_allclose(gradient, slopes, **TOLERANCE)


@pytest.mark.parametrize(
    ("quantizer", "method", "bits"),
    [
        (activation_quantizer, "relu", 1),
        (activation_quantizer, "det_sign", 2),
        (activation_quantizer, "round", 32),
        (weight_quantizer, "round", 1),
        (weight_quantizer, "det_sign", 4),
        (weight_quantizer, "dorefa", 32),
        (weight_quantizer, "no_such_method", 1),
    ],
)
def test_a_combination_outside_the_table_is_refused(quantizer, method, bits):
    with pytest.raises(AssertionError, match=f"method '{method}' and bits={bits} is not supported"):
        quantizer(method, bits)
