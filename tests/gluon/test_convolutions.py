import mxnet as mx
import numpy as np
import popcount_oracle as oracle
import pytest
from mxnet import autograd
from numpy.testing import assert_allclose, assert_array_equal

from bnn_tvm.gluon import nn

CONVOLUTIONS = {1: nn.QConv1D, 2: nn.QConv2D, 3: nn.QConv3D}


def signs(rng, *shape):
    return rng.choice([-1.0, 1.0], size=shape).astype(np.float32)


def build(dimensions, weight, **options):
    layer = CONVOLUTIONS[dimensions](weight.shape[0], weight.shape[2:], **options)
    layer.initialize()
    layer.weight.shape = weight.shape
    layer.weight.set_data(mx.nd.array(weight))
    return layer


def sign(x):
    return np.where(x < 0, -1, 1).astype(np.float32)


def forward_backward(layer, x, head):
    data = mx.nd.array(x)
    data.attach_grad()
    with autograd.record():
        out = layer(data)
    out.backward(mx.nd.array(head))
    return out.asnumpy(), data.grad.asnumpy().copy(), layer.weight.grad().asnumpy().copy()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1},
        {"padding": 2, "strides": 2},
        {"dilation": 2, "padding": 2},
        {"groups": 3, "padding": 1},
    ],
    ids=str,
)
def test_counts_equal_bits(rng, dimensions, options):
    x = signs(rng, 2, 3, *(6, 5, 5)[:dimensions])
    weight = rng.normal(size=(6, 3 // options.get("groups", 1), *(3, 2, 3)[:dimensions]))
    weight.flat[:2] = [0.0, -0.0]
    expected = oracle.popcount_conv(
        x,
        sign(weight),
        options.get("strides", 1),
        options.get("padding", 0),
        options.get("dilation", 1),
        options.get("groups", 1),
    )
    out = build(dimensions, weight.astype(np.float32), **options)(mx.nd.array(x)).asnumpy()
    assert_array_equal(out, expected)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_gradients(rng, dimensions):
    x = signs(rng, 2, 3, *(4,) * dimensions)
    weight = rng.normal(size=(4, 3, *(3,) * dimensions)).astype(np.float32)
    head = rng.normal(size=(2, 4, *(4,) * dimensions)).astype(np.float32)
    _, dx, dw = forward_backward(build(dimensions, weight, padding=1), x, head)
    expected_dx, expected_dw = oracle.conv_gradients(x, sign(weight), head / 2, padding=1)
    assert_allclose(dx, expected_dx, rtol=1e-4, atol=1e-5)
    assert_allclose(dw, expected_dw, rtol=1e-4, atol=1e-5)


def test_no_offset_returns_the_dot_product(rng):
    x, weight = signs(rng, 2, 5, 4, 4), signs(rng, 3, 5, 3, 3)
    out = build(2, weight, no_offset=True, padding=1)(mx.nd.array(x)).asnumpy()
    assert_array_equal(out, 2 * oracle.popcount_conv(x, weight, padding=1) - 45)


@pytest.mark.parametrize(("bits", "method"), [(2, "dorefa"), (7, "dorefa"), (32, "identity")])
def test_other_bit_widths_pad_with_minus_one_and_have_no_offset(rng, bits, method):
    x = rng.uniform(0, 1, size=(1, 3, 4, 4)).astype(np.float32)
    weight = rng.normal(size=(2, 3, 3, 3)).astype(np.float32)
    layer = build(2, weight, bits=bits, quantization=method, padding=1)
    out = layer(mx.nd.array(x)).asnumpy()
    padded = mx.nd.array(oracle.pad(x, 1, -1))
    expected = mx.nd.Convolution(
        padded, layer.quantize(mx.nd.array(weight)), kernel=(3, 3), num_filter=2, no_bias=True
    ).asnumpy()
    assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("approximation", ["binet", "xnor"])
def test_scaling_and_its_gradient(rng, approximation):
    x, weight = signs(rng, 2, 3, 5, 5), rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    head = rng.normal(size=(2, 4, 3, 3)).astype(np.float32)
    with nn.set_binary_layer_config(approximation=approximation):
        layer = build(2, weight, apply_scaling=True)
    out, dx, dw = forward_backward(layer, x, head)
    dot = 2 * oracle.popcount_conv(x, sign(weight)) - 27
    scale = np.abs(weight).mean(axis=(1, 2, 3))
    assert_allclose(out, dot * scale[:, None, None], rtol=1e-5)
    expected_dx, expected_dw = oracle.conv_gradients(x, sign(weight), head * scale[:, None, None])
    if approximation == "binet":
        through_scale = (head * dot).sum(axis=(0, 2, 3)) / 27
        expected_dw = expected_dw + through_scale[:, None, None, None] * np.sign(weight)
    assert_allclose(dx, expected_dx, rtol=1e-4, atol=1e-5)
    assert_allclose(dw, expected_dw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("dimensions", "layout", "shape", "expected"),
    [
        (2, "NHWC", (2, 7, 5, 3), (2, 9, 7, 8)),
        (3, "NDHWC", (2, 7, 5, 4, 3), (2, 9, 7, 6, 8)),
    ],
)
@pytest.mark.parametrize("scaling", [False, True])
def test_channels_last_pads_the_spatial_axes(dimensions, layout, shape, expected, scaling):
    # MXNet runs these on GPUs only: shapes are what a CPU can show.
    layer = CONVOLUTIONS[dimensions](
        8, 1, padding=1, layout=layout, in_channels=3, apply_scaling=scaling
    )
    _, (inferred,), _ = layer(mx.sym.var("data")).infer_shape(data=shape)
    assert inferred == expected


def test_channels_last_padding_has_the_values_of_channels_first(rng):
    from bnn_tvm.gluon.conv import pad_spatial

    x = signs(rng, 2, 3, 4, 5)
    first = pad_spatial(mx.nd, mx.nd.array(x), (1, 2), "NCHW").asnumpy()
    last = pad_spatial(mx.nd, mx.nd.array(x.transpose(0, 2, 3, 1)), (1, 2), "NHWC").asnumpy()
    assert_array_equal(first, np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), constant_values=-1))
    assert_array_equal(last.transpose(0, 3, 1, 2), first)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_bias_and_activation_are_refused(dimensions):
    with pytest.raises(ValueError, match="Bias is not supported for a binary layer"):
        CONVOLUTIONS[dimensions](4, 3, use_bias=True)
    with pytest.raises(ValueError, match="Activation 'tanh' is not supported"):
        CONVOLUTIONS[dimensions](4, 3, activation="tanh")


def test_bits_is_the_third_positional_argument():
    layer = nn.QConv2D(4, 3, 32, 2, quantization="identity")
    assert (layer.bits, layer._kwargs["stride"]) == (32, (2, 2))


def test_names_and_weight_decay():
    layer = nn.QConv2D(4, 3, padding=1, in_channels=2, prefix="net_qconv0_")
    nodes = layer(mx.sym.var("data")).get_internals().list_outputs()
    for name in ("weight", "pad0_output", "fwd_output", "_plusscalar0_output"):
        assert f"net_qconv0_{name}" in nodes
    assert layer.weight.wd_mult == 0
    assert nn.QConv1D(4, 3).name.startswith("qconv")
