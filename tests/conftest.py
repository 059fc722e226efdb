"""Small real packages, built once for each test process straight from Relax."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from bnn_tvm.package import Package
from bnn_tvm.package.manifest import (
    INPUT,
    KernelInfo,
    LayerInfo,
    Manifest,
    NodeInfo,
    TensorInfo,
)
from bnn_tvm.package.recording import Recording
from bnn_tvm.target import get_target

BATCH, WIDTH, CLASSES = 2, 8, 4
WEIGHT = np.random.default_rng(7).standard_normal((WIDTH, CLASSES)).astype(np.float32)


def build_library(module, folder) -> bytes:
    import tvm

    path = folder / "model.so"
    tvm.compile(module, target=get_target("x86-64").to_tvm()).export_library(str(path))
    return path.read_bytes()


def classifier_module(takes_result: bool = False):
    """relu(x @ WEIGHT); networks for GPUs take where to write it as well."""
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((BATCH, WIDTH), "float32"))
    result = relax.Var("result", relax.TensorType((BATCH, CLASSES), "float32"))
    with builder.function("main", [x, result] if takes_result else [x]):
        with builder.dataflow():
            scores = builder.emit(relax.op.matmul(x, relax.const(WEIGHT)))
            output = builder.emit_output(relax.op.nn.relu(scores))
        builder.emit_func_output(output)
    return builder.get()


def pair_module():
    """(a + b, a > b): two inputs, two outputs, one of them boolean."""
    from tvm import relax

    builder = relax.BlockBuilder()
    a = relax.Var("a", relax.TensorType((3,), "float32"))
    b = relax.Var("b", relax.TensorType((3,), "float32"))
    with builder.function("main", [a, b]):
        with builder.dataflow():
            both = relax.Tuple([builder.emit(a + b), builder.emit(relax.op.greater(a, b))])
            output = builder.emit_output(both)
        builder.emit_func_output(output)
    return builder.get()


def tensor(name: str, shape: tuple[int, ...], dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name, shape, dtype, "")


def kernel(name: str, layers: tuple[str, ...], *arguments: TensorInfo, macs: int = 0) -> KernelInfo:
    return KernelInfo(name, name, layers, arguments, 1, macs, False, "portable", "portable", "")


def manifest(name: str, inputs, outputs, kernels=(), layers=(), graph=()) -> Manifest:
    target = get_target("x86-64").info()
    return Manifest(
        1, name, {"tvm": "0.27.0.post1"}, target, inputs, outputs, kernels, layers, 5, graph
    )


@pytest.fixture(scope="session")
def classifier_weight() -> np.ndarray:
    return WEIGHT


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> Package:
    """A package of `classifier_module` with one dense layer that is not lowered."""
    x, scores, y = (
        tensor("x", (BATCH, WIDTH)),
        tensor("scores", (BATCH, CLASSES)),
        tensor("y", (BATCH, CLASSES)),
    )
    macs = BATCH * WIDTH * CLASSES
    kernels = (
        kernel("matmul", ("fc",), x, tensor("weight", WEIGHT.shape), scores, macs=macs),
        kernel("relu", ("fc_relu",), scores, y),
    )
    layer = LayerInfo(
        name="fc",
        op="dense",
        lowered=False,
        reason="its input [x] is not a sign",
        kernel="matmul",
        input_shape=x.shape,
        output_shape=scores.shape,
        weight_shape=WEIGHT.shape,
        weight_bits=32,
        activation_bits=32,
        macs=macs,
        weight_bytes=WEIGHT.nbytes,
        padding="",
        epilogue="",
    )
    graph = (
        NodeInfo("x", INPUT, "", "", ()),
        NodeInfo("fc", "matmul", "matmul", "", (0,)),
        NodeInfo("fc_relu", "elementwise", "relu", "relu", (1,)),
    )
    library = build_library(classifier_module(), tmp_path_factory.mktemp("classifier"))
    return Package(manifest("classifier", (x,), (y,), kernels, (layer,), graph), library)


@pytest.fixture(scope="session")
def gpu_classifier(classifier, tmp_path_factory) -> Package:
    """The same package for GPUs, as its manifest says, with a self-test; no GPU can run it."""
    x = np.full((BATCH, WIDTH), 1 / 32, np.float32)
    recording = Recording(np.ones(2, np.int8), (classifier.run(x),), 1e-5)
    target = dataclasses.replace(classifier.manifest.target, id="sm_80", gpu="sm_80")
    manifest = dataclasses.replace(classifier.manifest, target=target, self_test_tolerance=1e-5)
    library = build_library(classifier_module(True), tmp_path_factory.mktemp("gpu_classifier"))
    return Package(manifest, library, recording.to_files())


@pytest.fixture(scope="session")
def classifier_file(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("packages") / "classifier.bnn"
    classifier.save(path)
    return path


@pytest.fixture(scope="session")
def pair(tmp_path_factory) -> Package:
    a, b = tensor("a", (3,)), tensor("b", (3,))
    outputs = (tensor("sum", (3,)), tensor("above", (3,), "bool"))
    library = build_library(pair_module(), tmp_path_factory.mktemp("pair"))
    above = kernel("greater", ("above",), a, b, outputs[1])
    return Package(manifest("pair", (a, b), outputs, (above,)), library)
