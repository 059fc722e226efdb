"""From a model to a package: what it takes, what it refuses, and what the package says."""

from __future__ import annotations

import dataclasses
import json

import mxnet as mx
import numpy as np
import pytest
from c_harness import need
from relax_harness import random_floats

import bnn_tvm
from bnn_tvm.compiler import describe
from bnn_tvm.errors import InputError, ModelError, TargetError
from bnn_tvm.gluon import nn

TARGET = "x86-64"


def small_network():
    mx.random.seed(1)
    net = nn.HybridSequential(prefix="small_")
    with net.name_scope():
        net.add(
            nn.Conv2D(8, 3, padding=1),
            nn.BatchNorm(),
            nn.QActivation(),
            nn.QConv2D(12, 3, padding=1),
            nn.BatchNorm(),
            nn.QActivation(),
            nn.Flatten(),
            nn.QDense(6),
            nn.BatchNorm(),
            nn.Dense(4),
        )
    net.initialize(mx.init.Xavier(magnitude=2))
    return net


@pytest.fixture(scope="module")
def network():
    net = small_network()
    net(mx.nd.zeros((1, 3, 6, 6)))
    return net


@pytest.fixture(scope="module")
def package(network):
    return bnn_tvm.compile(network, target=TARGET, input_shape=(2, 3, 6, 6))


def test_result_is_that_of_the_network(network, package):
    x = random_floats(0, 2, 3, 6, 6)
    expected = network(mx.nd.array(x)).asnumpy()
    np.testing.assert_allclose(package.run(x), expected, rtol=0, atol=1e-4)


def test_the_package_records_what_it_gives(package):
    recording = package.recording
    (x,) = recording.inputs(package.manifest.inputs)
    np.testing.assert_array_equal(package.run(x), recording.outputs[0])
    assert recording.tolerance == package.manifest.self_test_tolerance > 0


def test_packages_for_others_record_what_this_machine_gives(network, package):
    need("aarch64-linux-gnu-gcc")
    foreign = bnn_tvm.compile(network, target="cortex-a72", input_shape=(2, 3, 6, 6))
    expected = package.recording.outputs[0]
    np.testing.assert_allclose(foreign.recording.outputs[0], expected, rtol=0, atol=1e-4)


def test_border_of_the_package(package):
    (entry,), (result,) = package.manifest.inputs, package.manifest.outputs
    assert (entry.name, entry.shape, entry.dtype, entry.layout) == (
        "data",
        (2, 3, 6, 6),
        "float32",
        "NCHW",
    )
    assert (result.shape, result.dtype) == ((2, 4), "float32")
    assert package.manifest.target.id == TARGET


def test_every_layer_is_reported_in_order(package):
    layers = package.manifest.layers
    assert [(layer.op, layer.lowered) for layer in layers] == [
        ("conv2d", False),
        ("conv2d", True),
        ("dense", True),
        ("dense", False),
    ]
    assert all(bool(layer.reason) != layer.lowered for layer in layers)
    assert [layer.weight_shape for layer in layers] == [
        (8, 3, 3, 3),
        (12, 8, 3, 3),
        (6, 432),
        (4, 6),
    ]
    assert [layer.macs for layer in layers] == [
        2 * 8 * 36 * 27,
        2 * 12 * 36 * 72,
        2 * 6 * 432,
        2 * 4 * 6,
    ]


def test_progress_names_every_stage(network):
    seen = []
    bnn_tvm.compile(
        network,
        target=TARGET,
        input_shape=(1, 3, 6, 6),
        progress=lambda *step: seen.append(step),
    )
    names, indices, totals = zip(*seen, strict=True)
    assert list(indices) == list(range(len(seen))) and set(totals) == {len(seen)}
    assert "lower regions" in names and names[0] == "reading the model"


def test_describing_gives_the_manifest_without_generating_code(network, package, monkeypatch):
    monkeypatch.setattr("bnn_tvm.compiler.build_library", None)
    seen = []
    described = describe(
        network,
        target=TARGET,
        input_shape=(2, 3, 6, 6),
        progress=lambda *step: seen.append(step),
    )
    assert described == dataclasses.replace(package.manifest, self_test_tolerance=0.0)
    assert [index for _, index, _ in seen] == list(range(seen[0][2]))


def test_files_and_network_give_the_same_package(network, package, tmp_path):
    network.hybridize()
    network(mx.nd.zeros((2, 3, 6, 6)))
    network.export(str(tmp_path / "small"))
    symbol = tmp_path / "small-symbol.json"
    from_files = bnn_tvm.compile(symbol, target=TARGET, input_shape=(2, 3, 6, 6))
    x = random_floats(0, 2, 3, 6, 6)
    np.testing.assert_array_equal(from_files.run(x), package.run(x))
    assert from_files.manifest.name == "small"


@pytest.mark.parametrize(
    "options, error, words",
    [
        ({"input_shape": None}, InputError, "--input-shape"),
        ({"target": "z80"}, TargetError, "z80"),
    ],
)
def test_what_is_missing_is_named(network, options, error, words):
    with pytest.raises(error, match=words):
        bnn_tvm.compile(network, **{"target": TARGET, "input_shape": (1, 3, 6, 6), **options})


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match="int"):
        bnn_tvm.compile(3, target=TARGET)


def test_unknown_operators_are_all_named(tmp_path):
    nodes = [{"op": "null", "name": "data", "inputs": []}]
    for i, name in enumerate(("Wavelet", "Kazoo")):
        nodes.append({"op": name, "name": f"n{i}", "inputs": [[i, 0, 0]]})
    path = tmp_path / "odd-symbol.json"
    path.write_text(json.dumps({"nodes": nodes, "heads": [[2, 0, 0]]}))
    mx.nd.save(str(tmp_path / "odd-0000.params"), {})
    with pytest.raises(ModelError, match=r"(?s)Wavelet.*Kazoo|Kazoo.*Wavelet"):
        bnn_tvm.compile(path, target=TARGET, input_shape=(1, 3))
