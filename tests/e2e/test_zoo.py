"""The networks of the zoo, compiled and compared with MXNet layer by layer and as a whole."""

from __future__ import annotations

import json
from dataclasses import dataclass

import mxnet as mx
import numpy as np
import pytest
from mxnet_harness import Model, Result, export, jump_sources, run_mxnet

import bnn_tvm
from bnn_tvm import zoo
from bnn_tvm.package import Package
from bnn_tvm.package.summary import Summary

TARGET = "x86-64-vpopcntdq"
TOLERANCE = 1e-4
FAST = ("resnet18_e1", "densenet28", "meliusnet22")
IMAGES = {"lenet": (1, 28, 28)}
# Other options than the shape that a network asks for.
STRUCTURE = {"block_config": (2, 3), "reduction": (2,)}
OPTIONS = {"densenet_flex": STRUCTURE, "meliusnet_flex": STRUCTURE}
# Binary layers are made by these blocks; their nodes carry the blocks' names.
BINARY = ("qconv", "qdense")


@dataclass(frozen=True)
class Trial:
    """One network as MXNet exports it, compiled, and one image."""

    name: str
    model: Model
    package: Package
    x: np.ndarray

    @property
    def binary_layers(self) -> list[str]:
        names = [layer.name for layer in self.package.manifest.layers]
        return [name for name in names if any(part in name for part in BINARY)]


def as_trained(net, shape: tuple[int, ...]) -> None:
    """Give batch norms scales of both signs and the statistics of a real forward pass."""
    rng = np.random.default_rng(1)
    for name, parameter in net.collect_params().items():
        if name.endswith("gamma"):
            gamma = rng.uniform(0.5, 1.5, parameter.shape) * rng.choice((-1, 1), parameter.shape)
            parameter.set_data(mx.nd.array(gamma))
        elif name.endswith("beta"):
            parameter.set_data(mx.nd.array(rng.standard_normal(parameter.shape) / 4))
    net.apply(forget_statistics)
    with mx.autograd.train_mode():
        net(mx.nd.array(rng.standard_normal((4, *shape[1:])))).wait_to_read()


def forget_statistics(block) -> None:
    """Let a batch norm take the statistics of the next batch as they are."""
    if isinstance(block, mx.gluon.nn.BatchNorm):
        block._kwargs["momentum"] = 0


def try_network(name: str, trained: bool, **options) -> Trial:
    shape = (1, *IMAGES.get(name, (3, 64, 64)))
    mx.random.seed(1)
    net = zoo.get_model(name, **OPTIONS.get(name, {}), **options)
    net.initialize(mx.init.Xavier(magnitude=2))
    net(mx.nd.zeros(shape))
    if trained:
        as_trained(net, shape)
    model = export(net, shape)
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    package = bnn_tvm.compile(model.graph, target=TARGET, input_shape=shape)
    return Trial(name, model, package, x)


def check_layers_are_lowered(trial: Trial) -> None:
    summary = json.loads(Summary.of_manifest(trial.package.manifest).to_json())
    lowered = {layer["name"]: layer["lowered"] for layer in summary["layers"]}
    assert trial.binary_layers
    assert all(lowered[name] for name in trial.binary_layers)


def check_logits(trial: Trial) -> Result:
    """Compare the logits; return also what MXNet computes on the way."""
    result = run_mxnet(trial.model, trial.x, trial.binary_layers)
    logits = trial.package.run(trial.x)
    error = np.abs(logits - result.output).max() / np.abs(result.output).max()
    before = [result.inside[name] for name in jump_sources(trial.model.graph)]
    print(
        f"{trial.name}: {len(trial.binary_layers)} binary layers, logits differ by {error:.1e}, "
        f"{result.near} of {sum(v.size for v in before)} quantized values were near a jump"
    )
    assert np.ptp(result.output) > 0
    assert error <= TOLERANCE or result.near
    return result


def check_sums(trial: Trial, inside: dict[str, np.ndarray]) -> None:
    """Cut every binary layer out with its sign and padding; feed it with what MXNet feeds it."""
    sources = list(jump_sources(trial.model.graph))
    cut = trial.model.graph.extract(sources, trial.binary_layers)
    arrays = {name: inside[name] for name in cut.data_inputs}
    shapes = {name: array.shape for name, array in arrays.items()}
    outputs = bnn_tvm.compile(cut, target=TARGET, input_shape=shapes).run(arrays)
    sums = outputs if isinstance(outputs, tuple) else (outputs,)
    for name, ours in zip(trial.binary_layers, sums, strict=True):
        np.testing.assert_array_equal(ours, inside[name], err_msg=name)


@pytest.mark.parametrize("name", FAST)
def test_network_as_mxnet_computes_it(name):
    trial = try_network(name, trained=True)
    check_layers_are_lowered(trial)
    check_sums(trial, check_logits(trial).inside)


@pytest.mark.slow
@pytest.mark.parametrize("trained", (False, True))
@pytest.mark.parametrize("name", zoo.model_names())
def test_every_network(name, trained):
    trial = try_network(name, trained)
    check_layers_are_lowered(trial)
    check_sums(trial, check_logits(trial).inside)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, options",
    [
        ("lenet", {"bits": 2}),
        ("resnet18_e1", {"bits": 2}),
        ("resnet18_e1", {"bits": 1, "bits_a": 4}),
        ("resnet18_e2", {"approximation": "binet"}),
        ("densenet28", {"approximation": "xnor"}),
        ("meliusnet22", {"bits": 3, "bits_a": 1}),
    ],
)
def test_networks_of_several_bits_and_with_scaling(name, options):
    trial = try_network(name, trained=True, **options)
    check_layers_are_lowered(trial)
    check_logits(trial)
