import mxnet as mx
import numpy as np
import popcount_oracle as oracle
import pytest
from mxnet import autograd
from numpy.testing import assert_allclose, assert_array_equal

from bnn_tvm.gluon import nn


def sign(x):
    return np.where(x < 0, -1, 1).astype(np.float32)


def initialized(block):
    block.initialize(mx.init.Uniform(1))
    return block


def test_the_configuration_chooses_the_block():
    expected = {
        "": nn.BinaryConvolution,
        "binet": nn.ScaledWeightsBinaryConv,
        "xnor": nn.ScaledBinaryConv,
    }
    for approximation, block in expected.items():
        with nn.set_binary_layer_config(approximation=approximation):
            assert type(nn.activated_conv(3)) is block
    assert type(nn.activated_conv(3)) is nn.BinaryConvolution


def test_an_unknown_approximation_is_refused():
    with (
        nn.set_binary_layer_config(approximation="abc"),
        pytest.raises(AssertionError, match="'abc' is unknown; choose one of"),
    ):
        nn.activated_conv(3)


@pytest.mark.parametrize("block", [nn.BinaryConvolution, nn.ScaledBinaryConv])
def test_all_arguments_have_upstreams_positions(block):
    with nn.set_binary_layer_config(bits=32):
        built = block(8, 3, 1, 1, 4, 1, 32, 32, 0.7, "clip", "x_qconv_")
    assert (built.qconv.bits, built.qact.bits) == (32, 32)
    assert (built.qact.threshold, built.qact.method) == (0.7, "clip")


def test_arguments_reach_the_children():
    block = nn.activated_conv(
        8, 5, 2, 1, 4, 3, bits_a=1, clip_threshold=1.3, activation_method="sign_approx_sign"
    )
    assert (block.qact.threshold, block.qact.method) == (1.3, "sign_approx_sign")
    assert block.qconv.padding == (1, 1)
    assert block.qconv.weight.shape == (8, 4, 5, 5)
    assert (block.qconv._kwargs["stride"], block.qconv._kwargs["dilate"]) == ((2, 2), (3, 3))


def test_children_are_named_by_the_surrounding_scope():
    net = nn.HybridSequential(prefix="stage1_")
    with net.name_scope():
        net.add(nn.activated_conv(8, in_channels=4), nn.activated_conv(8, in_channels=8))
    assert list(net.collect_params()) == ["stage1_qconv0_weight", "stage1_qconv1_weight"]
    named = nn.BinaryConvolution(8, in_channels=4, prefix="sc_qconv_")
    assert list(named.collect_params()) == ["sc_qconv_weight"]


def test_binary_convolution_counts_equal_bits(rng):
    x = rng.normal(size=(2, 3, 6, 6)).astype(np.float32)
    block = initialized(nn.BinaryConvolution(4, padding=1, stride=2))
    out = block(mx.nd.array(x)).asnumpy()
    weight = block.qconv.weight.data().asnumpy()
    assert_array_equal(out, oracle.popcount_conv(sign(x), sign(weight), 2, 1))


def test_scaled_weights(rng):
    x = rng.normal(size=(2, 3, 5, 5)).astype(np.float32)
    block = initialized(nn.ScaledWeightsBinaryConv(4))
    out = block(mx.nd.array(x)).asnumpy()
    weight = block.qconv.weight.data().asnumpy()
    dot = 2 * oracle.popcount_conv(sign(x), sign(weight)) - 27
    assert_allclose(out, dot * np.abs(weight).mean(axis=(1, 2, 3))[:, None, None], rtol=1e-5)


def box_means(x, stride, padding, dilation):
    """Mean of |x| over channels and window; zeros around the image."""
    padded = oracle.pad(np.abs(x).mean(axis=1, keepdims=True), padding, 0)
    means = {
        position: padded[(slice(None), slice(None), *window)].mean(axis=(2, 3))
        for position, window in oracle.windows(padded.shape[2:], (3, 3), stride, dilation)
    }
    height, width = (1 + max(axis) for axis in zip(*means, strict=True))
    return np.stack(list(means.values()), axis=-1).reshape(len(x), 1, height, width)


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 1, 1), (2, 0, 1), (1, 2, 2)])
def test_scaled_inputs_and_weights(rng, stride, padding, dilation):
    x = rng.normal(size=(2, 3, 7, 7)).astype(np.float32)
    block = initialized(
        nn.ScaledBinaryConv(4, 3, stride=stride, padding=padding, dilation=dilation)
    )
    out = block(mx.nd.array(x)).asnumpy()
    weight = block.qconv.weight.data().asnumpy()
    dot = 2 * oracle.popcount_conv(sign(x), sign(weight), stride, padding, dilation) - 27
    alpha = np.abs(weight).mean(axis=(1, 2, 3))[:, None, None]
    assert_allclose(out, dot * alpha * box_means(x, stride, padding, dilation), rtol=1e-4)


def test_no_gradient_flows_through_the_input_scaling(rng):
    x = rng.normal(size=(2, 3, 5, 5)).astype(np.float32)
    head = rng.normal(size=(2, 4, 3, 3)).astype(np.float32)
    block = initialized(nn.ScaledBinaryConv(4))
    data = mx.nd.array(x)
    data.attach_grad()
    with autograd.record():
        out = block(data)
    out.backward(mx.nd.array(head))
    weight = block.qconv.weight.data().asnumpy()
    scaled = head * box_means(x, 1, 0, 1) * np.abs(weight).mean(axis=(1, 2, 3))[:, None, None]
    expected, _ = oracle.conv_gradients(sign(x), sign(weight), scaled)
    expected = np.where(np.abs(x) <= 1, expected, 0)
    assert_allclose(data.grad.asnumpy(), expected, rtol=1e-4, atol=1e-5)
