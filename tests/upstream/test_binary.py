"""The cases of BMXNet v2's own test file, written against nothing but ``mxnet``.

After ``bnn_tvm.gluon.install()``, called in conftest.py, it runs as it would on BMXNet v2.
"""

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

LAYERS = {
    "qconv_k3_s1_p1": (
        lambda: nn.QConv2D(16, kernel_size=3, strides=1, padding=1),
        {"kernel": (3, 3), "stride": (1, 1), "num_filter": 16, "no_bias": True},
        1,
        (1, 2, 5, 5),
        (1, 16, 5, 5),
    ),
    "qconv_k2_s2_p0": (
        lambda: nn.QConv2D(16, kernel_size=2, strides=2, padding=0),
        {"kernel": (2, 2), "stride": (2, 2), "num_filter": 16, "no_bias": True},
        0,
        (1, 2, 4, 4),
        (1, 16, 2, 2),
    ),
    "qdense": (
        lambda: nn.QDense(16),
        {"num_hidden": 16, "no_bias": True},
        0,
        (3, 50),
        (3, 16),
    ),
}
THRESHOLDS = [0.01, 0.1, 0.5, 1.0, 2.0]


@pytest.fixture(autouse=True)
def _seeded():
    np.random.seed(42)
    mx.random.seed(42)


def binary_input(shape):
    return mx.nd.array(np.random.choice([-1, 1], size=shape))


def uniform_input(low, high, shape):
    return mx.nd.random.uniform(low, high, shape=shape)


def run(function, data):
    """Output and gradient of the input, in arrays of their own."""
    data = data.copy()
    data.attach_grad()
    with autograd.record():
        out = function(data)
    out.backward()
    return out.asnumpy(), data.grad.asnumpy().copy()


def padded(data, padding):
    if padding == 0:
        return data
    widths = (0, 0, 0, 0) + (padding,) * 4
    return mx.nd.pad(data, mode="constant", pad_width=widths, constant_value=-1)


def initialized(layer, data):
    layer.initialize(mx.init.Xavier(magnitude=2))
    layer(data)
    return layer


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS.keys())
def test_binary_qconv_qdense(case):
    build, options, padding, in_shape, _ = case
    data = binary_input(in_shape)
    layer = initialized(build(), data)
    operator = mx.nd.Convolution if "kernel" in options else mx.nd.FullyConnected
    weight = layer.weight.data()
    terms = int(np.prod(weight.shape[1:]))

    def stock(x):
        return (operator(padded(x, padding), weight.det_sign(), **options) + terms) / 2

    out, gradient = run(layer, data)
    expected, expected_gradient = run(stock, data)
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
    assert np.all(out == np.floor(out))


@pytest.mark.parametrize("shape", [(1, 2, 5, 5), (10, 1000)])
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_qactivation(shape, threshold):
    data = uniform_input(-2, 2, shape)
    out, gradient = run(nn.QActivation(gradient_cancel_threshold=threshold), data)
    expected, expected_gradient = run(
        lambda x: mx.nd.contrib.gradcancel(x, threshold=threshold).det_sign(), data
    )
    assert out.shape == shape
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(gradient, expected_gradient)
    np.testing.assert_array_equal(gradient != 0, np.abs(data.asnumpy()) <= np.float32(threshold))


def naive_popcount(x_row, w_row):
    return sum(int(not (a ^ b)) for a, b in zip(x_row, w_row, strict=True))


def naive_layer(x, w, stride):
    """Sliding window of xnor and popcount over 0/1 operands."""
    if x.ndim == 2:
        return np.array([[naive_popcount(row, unit) for unit in w] for row in x])
    kernel = w.shape[2]
    size = (x.shape[2] - kernel) // stride + 1
    out = np.zeros((x.shape[0], w.shape[0], size, size))
    for n, o, i, j in np.ndindex(*out.shape):
        top, left = i * stride, j * stride
        window = x[n, :, top : top + kernel, left : left + kernel]
        out[n, o, i, j] = naive_popcount(window.flatten(), w[o].flatten())
    return out


@pytest.mark.parametrize("case", LAYERS.values(), ids=LAYERS.keys())
def test_qconv_binary_operation(case):
    build, options, padding, in_shape, out_shape = case
    data = binary_input(in_shape)
    layer = initialized(build(), data)
    x_bits = (padded(data, padding).asnumpy() > 0).astype(int)
    w_bits = (layer.weight.data().asnumpy() >= 0).astype(int)
    out = layer(data).asnumpy()
    assert out.shape == out_shape
    np.testing.assert_array_equal(
        out, naive_layer(x_bits, w_bits, options.get("stride", (1, 1))[0])
    )


def test_det_sign():
    out, gradient = run(lambda x: x.det_sign(), mx.nd.array([0, 0.6, -0.3]))
    np.testing.assert_array_equal(out, [1, 1, -1])
    np.testing.assert_array_equal(gradient, [1, 1, 1])


def test_round_ste():
    data = uniform_input(-10, 10, (2, 3, 4))
    out, gradient = run(lambda x: x.round_ste(), data)
    np.testing.assert_array_equal(out, np.round(data.asnumpy()))
    np.testing.assert_array_equal(gradient, np.ones((2, 3, 4)))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_grad_cancel(threshold):
    data = uniform_input(-2, 2, (10, 100))
    _, cancelled = run(lambda x: mx.nd.contrib.gradcancel(x, threshold=threshold) ** 2, data)
    _, plain = run(lambda x: x**2, data)
    plain[np.abs(data.asnumpy()) > threshold] = 0
    np.testing.assert_almost_equal(cancelled, plain, decimal=7)


def test_approx_sign():
    out, gradient = run(lambda x: x.approx_sign(), mx.nd.array([0, 0.6, -0.3]))
    np.testing.assert_array_equal(out, [1, 1, -1])
    np.testing.assert_allclose(gradient, [2.0, 0.8, 1.4], rtol=1e-5)


def test_qconvolution_scaling():
    data = uniform_input(-1, 1, (1, 2, 4, 4))
    conv = initialized(nn.Conv2D(16, kernel_size=3, use_bias=False, in_channels=2), data)
    shared = {"kernel_size": 3, "in_channels": 2, "no_offset": True, "params": conv.params}
    plain = nn.QConv2D(16, **shared)(data).asnumpy()
    scaled = nn.QConv2D(16, apply_scaling=True, **shared)(data).asnumpy()
    exact = conv(data).asnumpy()
    assert ((exact - scaled) ** 2).mean() < ((exact - plain) ** 2).mean()
    assert (np.sign(scaled) == np.sign(plain)).mean() > 0.95


@pytest.mark.parametrize("grad_cancel", [1.0, 0.2])
@pytest.mark.parametrize(("bits", "method"), [(1, "det_sign"), (2, "round")])
def test_binary_layer_config_qact(grad_cancel, bits, method):
    data = uniform_input(-2, 2, (10, 20))
    explicit = nn.QActivation(bits=bits, gradient_cancel_threshold=grad_cancel, method=method)
    with nn.set_binary_layer_config(bits_a=bits, grad_cancel=grad_cancel, activation=method):
        configured = nn.QActivation()
    for got, expected in zip(run(configured, data), run(explicit, data), strict=True):
        np.testing.assert_almost_equal(got, expected, decimal=7)


@pytest.mark.parametrize(("bits", "method"), [(1, "det_sign"), (2, "dorefa"), (32, "identity")])
def test_binary_layer_config_qconv(bits, method):
    data = uniform_input(-1, 1, (1, 3, 7, 7))
    explicit = initialized(
        nn.QConv2D(2, kernel_size=3, bits=bits, quantization=method, in_channels=3), data
    )
    with nn.set_binary_layer_config(bits=bits, weight_quantization=method):
        configured = nn.QConv2D(2, kernel_size=3, in_channels=3, params=explicit.params)
    for got, expected in zip(run(configured, data), run(explicit, data), strict=True):
        np.testing.assert_almost_equal(got, expected, decimal=7)


def test_binary_layer_config_scaling():
    assert isinstance(nn.activated_conv(3), nn.BinaryConvolution)
    with nn.set_binary_layer_config(approximation="xnor"):
        assert isinstance(nn.activated_conv(3), nn.ScaledBinaryConv)
    assert type(nn.activated_conv(3)) is nn.BinaryConvolution
