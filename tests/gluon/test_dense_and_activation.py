import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from numpy.testing import assert_allclose, assert_array_equal

from bnn_tvm.gluon import nn


def signs(rng, *shape):
    return rng.choice([-1.0, 1.0], size=shape).astype(np.float32)


def weighted(layer, weight):
    layer.initialize()
    layer.weight.set_data(mx.nd.array(weight))
    return layer


@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("hybrid", [False, True])
def test_qactivation_is_a_sign_behind_gradcancel(value_and_gradient, rng, threshold, hybrid):
    x = rng.uniform(-2.5, 2.5, size=(3, 2, 5)).astype(np.float32)
    x[0, 0] = [0.0, -0.0, threshold, -threshold, 2.4]
    head = rng.normal(size=x.shape).astype(np.float32)
    layer = nn.QActivation(gradient_cancel_threshold=threshold)
    layer.hybridize(hybrid)
    out, gradient = value_and_gradient(layer, x, head)
    assert_array_equal(out, np.where(x < 0, -1, 1))
    assert_array_equal(gradient, np.where(np.abs(x) <= np.float32(threshold), head, 0))


def test_qactivation_reads_its_defaults_from_the_configuration(value_and_gradient, rng):
    x = rng.uniform(-2, 2, size=(4, 6)).astype(np.float32)
    with nn.set_binary_layer_config(bits_a=3, grad_cancel=0.4):
        configured = nn.QActivation()
    explicit = nn.QActivation(bits=3, gradient_cancel_threshold=0.4, method="round")
    for got, expected in zip(
        value_and_gradient(configured, x), value_and_gradient(explicit, x), strict=True
    ):
        assert_array_equal(got, expected)
        assert len(np.unique(got)) > 1


def test_zero_threshold_means_the_configured_one():
    assert nn.QActivation(gradient_cancel_threshold=0).threshold == 1.0


def test_qdense_counts_equal_bits(rng):
    x, weight = signs(rng, 5, 37), rng.normal(size=(9, 37)).astype(np.float32)
    weight[0, :4] = [0.0, -0.0, 1e-20, -1e-20]
    counts = np.array([[(a == (b >= 0)).sum() for b in weight] for a in x > 0])
    out = weighted(nn.QDense(9, in_units=37), weight)(mx.nd.array(x)).asnumpy()
    assert_array_equal(out, counts)


def test_qdense_gradients(rng):
    x, weight = signs(rng, 5, 37), rng.normal(size=(9, 37)).astype(np.float32)
    head = rng.normal(size=(5, 9)).astype(np.float32)
    layer = weighted(nn.QDense(9, in_units=37), weight)
    data = mx.nd.array(x)
    data.attach_grad()
    with autograd.record():
        out = layer(data)
    out.backward(mx.nd.array(head))
    expected = head / 2 @ np.where(weight < 0, -1, 1)
    assert_allclose(data.grad.asnumpy(), expected, rtol=1e-5, atol=1e-5)
    assert_allclose(layer.weight.grad().asnumpy(), (head / 2).T @ x, rtol=1e-5, atol=1e-5)


def test_qdense_without_offset_returns_the_dot_product(rng):
    x, weight = signs(rng, 5, 37), signs(rng, 9, 37)
    out = weighted(nn.QDense(9, in_units=37, no_offset=True), weight)(mx.nd.array(x))
    assert_array_equal(out.asnumpy(), x @ weight.T)


@pytest.mark.parametrize("bits", [2, 4, 32])
def test_qdense_applies_the_offset_at_every_bit_width(rng, bits):
    x = rng.uniform(0, 1, size=(5, 8)).astype(np.float32)
    weight = rng.normal(size=(3, 8)).astype(np.float32)
    with nn.set_binary_layer_config(bits=bits):
        layer = weighted(nn.QDense(3, in_units=8), weight)
    quantized = layer.quantize(mx.nd.array(weight)).asnumpy()
    assert_allclose(layer(mx.nd.array(x)).asnumpy(), (x @ quantized.T + 8) / 2, rtol=1e-5)


def test_qdense_honours_flatten(rng):
    x = mx.nd.array(signs(rng, 2, 3, 4))
    flat, kept = nn.QDense(5), nn.QDense(5, flatten=False)
    for layer in (flat, kept):
        layer.initialize()
        layer(x)
    assert flat(x).shape == (2, 5)
    assert kept(x).shape == (2, 3, 5)
    assert (flat.weight.shape, kept.weight.shape) == ((5, 12), (5, 4))


def test_bias_and_activation_are_refused():
    with pytest.raises(ValueError, match="Bias is not supported for a binary layer"):
        nn.QDense(4, use_bias=True)
    with pytest.raises(ValueError, match="Activation 'relu' is not supported"):
        nn.QDense(4, activation="relu")


def test_names_and_weight_decay():
    net = nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(nn.QDense(4, in_units=3), nn.QActivation())
    assert [layer.name for layer in net] == ["net_qdense0", "net_qactivation0"]
    assert list(net.collect_params()) == ["net_qdense0_weight"]
    assert net[0].weight.wd_mult == 0
