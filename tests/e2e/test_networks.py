"""Small networks of Gluon layers, compiled and compared with MXNet."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import HybridBlock
from relax_harness import COUNTING_TARGETS, TARGETS

import bnn_tvm
from bnn_tvm.benchmark.layers import time_kernels
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.gluon import nn
from bnn_tvm.runtime import Session


class Residual(HybridBlock):
    """sign -> binary 3x3 -> batch norm, plus the input; downsampled where strided."""

    def __init__(self, channels, strides=1, **options):
        super().__init__(**options)
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(
                nn.QActivation(),
                nn.QConv2D(channels, 3, strides=strides, padding=1),
                nn.BatchNorm(),
            )
            self.shortcut = nn.HybridSequential()
            if strides > 1:
                self.shortcut.add(nn.AvgPool2D(2, 2), nn.Conv2D(channels, 1), nn.BatchNorm())

    def hybrid_forward(self, F, x):  # noqa: N803
        return self.body(x) + self.shortcut(x)


class Growing(HybridBlock):
    """batch norm -> sign -> binary 3x3, behind the input."""

    def __init__(self, channels, dilation=1, **options):
        super().__init__(**options)
        with self.name_scope():
            self.body = nn.HybridSequential()
            conv = nn.QConv2D(channels, 3, padding=dilation, dilation=dilation)
            self.body.add(nn.BatchNorm(), nn.QActivation(), conv)

    def hybrid_forward(self, F, x):  # noqa: N803
        return F.concat(x, self.body(x), dim=1)


class Improving(HybridBlock):
    """A binary 3x3 that corrects the last channels, as in MeliusNet."""

    def __init__(self, channels, last, **options):
        super().__init__(**options)
        self.first = channels - last
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(nn.BatchNorm(), nn.QActivation(), nn.QConv2D(last, 3, padding=1))

    def hybrid_forward(self, F, x):  # noqa: N803
        kept = F.slice_axis(x, axis=1, begin=0, end=self.first)
        corrected = F.slice_axis(x, axis=1, begin=self.first, end=None) + self.body(x)
        return F.concat(kept, corrected, dim=1)


def sequence(*layers):
    net = nn.HybridSequential()
    net.add(*layers)
    return net


def classifier():
    return [nn.BatchNorm(), nn.Activation("relu"), nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(5)]


def lenet(channels=20):
    return sequence(
        nn.Conv2D(channels, 3), nn.Activation("tanh"), nn.MaxPool2D(2), nn.BatchNorm(),
        nn.QActivation(), nn.QConv2D(channels + 13, 3), nn.BatchNorm(), nn.MaxPool2D(2),
        nn.Flatten(), nn.QActivation(), nn.QDense(50), nn.BatchNorm(), nn.Activation("tanh"),
        nn.Dense(5),
    )  # fmt: skip


def resnet():
    return sequence(
        nn.BatchNorm(scale=False), nn.Conv2D(32, 3, 2, 1), nn.BatchNorm(), nn.Activation("relu"),
        nn.MaxPool2D(3, 2, 1), nn.BatchNorm(), Residual(32), Residual(64, 2), Residual(64),
        *classifier(),
    )  # fmt: skip


def densenet():
    return sequence(
        nn.Conv2D(32, 3, 1, 1), nn.BatchNorm(), Growing(32), Growing(32), nn.BatchNorm(),
        nn.MaxPool2D(2), nn.Activation("relu"), nn.Conv2D(40, 1), Growing(32, dilation=2),
        *classifier(),
    )  # fmt: skip


def meliusnet():
    return sequence(
        nn.Conv2D(16, 3, 2, 1), nn.Conv2D(32, 3, 1, 1, groups=4), nn.BatchNorm(),
        Growing(32), Improving(64, 32), *classifier(),
    )  # fmt: skip


def binary_only():
    return sequence(
        nn.QActivation(), nn.QConv2D(33, 3, padding=1), nn.QActivation(), nn.MaxPool2D(3, 2, 1),
        nn.QConv2D(7, 3, no_offset=True), nn.Flatten(), nn.QActivation(), nn.QDense(5),
    )  # fmt: skip


def grouped():
    return sequence(
        nn.Conv2D(8, 1), nn.QActivation(), nn.QConv2D(8, 3, groups=2, padding=1), nn.BatchNorm(),
        nn.QActivation(), nn.QConv2D(5, 3), nn.GlobalAvgPool2D(), nn.Flatten(),
    )  # fmt: skip


NETWORKS = {
    "lenet": (lenet, 2),
    "resnet": (resnet, 3),
    "densenet": (densenet, 3),
    "meliusnet": (meliusnet, 2),
    "binary only": (binary_only, 3),
}
SHAPE = (2, 3, 14, 14)


def with_random_statistics(net, seed):
    """Initialize, and draw batch norms with negative, zero and large scales."""
    mx.random.seed(seed)
    rng = np.random.default_rng(seed)
    net.initialize(mx.init.Xavier(magnitude=2))
    net(mx.nd.zeros(SHAPE))
    for name, parameter in net.collect_params().items():
        shape = parameter.shape
        if name.endswith("gamma"):
            gamma = rng.standard_normal(shape)
            gamma[0] = 0
            parameter.set_data(mx.nd.array(gamma))
        elif name.endswith(("beta", "running_mean")):
            parameter.set_data(mx.nd.array(rng.standard_normal(shape)))
        elif name.endswith("running_var"):
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 2, shape)))
    return net


def compare(net, seed, target, shape=SHAPE):
    """Compile and run a network and MXNet on the same input; return the package."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    expected = net(mx.nd.array(x)).asnumpy()
    package = bnn_tvm.compile(net, target=target, input_shape=shape)
    y = package.run(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-4)
    return package


@pytest.mark.parametrize("name", NETWORKS)
def test_network_as_mxnet_computes_it(name):
    build, binary_layers = NETWORKS[name]
    package = compare(with_random_statistics(build(), 1), 1, TARGETS[0])
    assert sum(layer.lowered for layer in package.manifest.layers) == binary_layers


def test_grouped_binary_convolution_is_right():
    package = compare(with_random_statistics(grouped(), 2), 2, TARGETS[0])
    _, in_groups, plain = package.manifest.layers
    assert in_groups.lowered or "groups" in in_groups.reason
    assert plain.lowered


@pytest.mark.slow
@pytest.mark.parametrize("target", COUNTING_TARGETS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3, 6))
def test_networks_on_every_target(name, target, seed):
    compare(with_random_statistics(NETWORKS[name][0](), seed), seed, target)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_chains(seed):
    """Random channels, windows, strides, poolings and activations in a row."""
    rng = np.random.default_rng(seed)
    layers = [nn.Conv2D(int(rng.integers(1, 70)), 3, padding=1)]
    for _ in range(3):
        kernel = int(rng.choice((1, 3)))
        layers += [nn.BatchNorm()] if rng.random() < 0.7 else []
        layers += [nn.MaxPool2D(2, 1)] if rng.random() < 0.4 else []
        layers += [nn.QActivation()]
        layers += [nn.MaxPool2D(3, 1, 1)] if rng.random() < 0.3 else []
        strides, channels = int(rng.integers(1, 3)), int(rng.integers(1, 70))
        conv = nn.QConv2D(channels, kernel, strides=strides, padding=kernel // 2)
        layers += [conv]
    compare(with_random_statistics(sequence(*layers, *classifier()), seed), seed, TARGETS[seed % 3])


def test_layers_with_tables_for_their_border_are_timed_on_random_operands():
    net = sequence(nn.QActivation(bits=2, method="round"), nn.QConv2D(8, 3, padding=1))
    net.initialize()
    net(mx.nd.zeros((1, 8, 9, 9)))
    package = bnn_tvm.compile(net, target="x86-64", input_shape=(1, 8, 9, 9))
    (layer,) = package.manifest.layers
    assert layer.lowered
    plan = Plan(rounds=1, warm_up=1, sample_seconds=1e-5)
    timed = time_kernels(Session(package), {}, plan)
    assert layer.kernel in {report.kernel for report in timed}
