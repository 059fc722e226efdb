"""ResNet-18 as ONNX."""

from __future__ import annotations

import math

import pytest

onnx = pytest.importorskip("onnx")

from benchmarks.float_resnet import write_resnet18  # noqa: E402


def test_it_is_resnet18(tmp_path):
    path = tmp_path / "resnet18.onnx"
    write_resnet18(path, (1, 3, 224, 224))
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    macs = sum(
        math.prod(shapes[layer.output[0]]) * math.prod(weights[layer.input[1]][1:])
        for layer in layers
    )
    assert len(layers) == 21
    assert shapes[graph.output[0].name] == [1, 1000]
    # The count that is published for ResNet-18, torchvision's 1.814 GMAC.
    assert macs == 1_814_073_344
