"""ResNet-18 in float and int8, as ONNX: the network that binary ones are measured against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

_OPSET, _IR_VERSION = 17, 8
_STAGES = (64, 128, 256, 512)
_CLASSES = 1000
_INPUT, _OUTPUT = "data", "logits"
_CALIBRATION_IMAGES = 4


def write_resnet18(path: Path, shape: tuple[int, ...]) -> None:
    """Write ResNet-18 (arXiv:1512.03385) with BatchNorms folded into the convolutions.

    Parameters
    ----------
    path : path
        Of the ``.onnx`` file.
    shape : tuple of int
        (N, 3, H, W) of its input.

    Notes
    -----
    Weights are random, of the size that keeps activations near 1.
    """
    onnx.save(_ResNet().build(shape), path)


def quantize(source: Path, path: Path, shape: tuple[int, ...]) -> None:
    """Quantize a model to int8 weights per channel and uint8 activations.

    Its scales come from random images; they change numbers and not times.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        source,
        path,
        _RandomImages(shape),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


class _RandomImages:
    """What onnxruntime calibrates with: it asks for images until it gets None."""

    def __init__(self, shape: tuple[int, ...]):
        generator = np.random.default_rng(3)
        self._images: Iterator[np.ndarray] = (
            generator.standard_normal(shape).astype(np.float32) for _ in range(_CALIBRATION_IMAGES)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {_INPUT: image}


class _ResNet:
    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._generator = np.random.default_rng(0)

    def build(self, shape: tuple[int, ...]) -> onnx.ModelProto:
        x = self._relu(self._convolve(_INPUT, 3, _STAGES[0], 7, 2))
        x = self._node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        channels = _STAGES[0]
        for stage, width in enumerate(_STAGES):
            x = self._block(x, channels, width, stride=2 if stage else 1)
            x = self._block(x, width, width, stride=1)
            channels = width
        x = self._node("Flatten", [self._node("GlobalAveragePool", [x])])
        dense = [x, self._weight((_CLASSES, channels), channels), self._bias(_CLASSES)]
        self._nodes.append(helper.make_node("Gemm", dense, [_OUTPUT], transB=1))
        return self._model(shape)

    def _block(self, x: str, channels: int, width: int, stride: int) -> str:
        shortcut = x if stride == 1 else self._convolve(x, channels, width, 1, stride)
        body = self._relu(self._convolve(x, channels, width, 3, stride))
        return self._relu(self._node("Add", [self._convolve(body, width, width, 3, 1), shortcut]))

    def _convolve(self, x: str, channels: int, width: int, kernel: int, stride: int) -> str:
        weight = self._weight((width, channels, kernel, kernel), channels * kernel**2)
        inputs, border = [x, weight, self._bias(width)], [kernel // 2] * 4
        return self._node("Conv", inputs, strides=[stride, stride], pads=border)

    def _relu(self, x: str) -> str:
        return self._node("Relu", [x])

    def _node(self, operator: str, inputs: list[str], **attributes: list[int]) -> str:
        name = f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def _weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        return self._store(self._generator.standard_normal(shape) / np.sqrt(fan_in))

    def _bias(self, size: int) -> str:
        return self._store(self._generator.standard_normal(size) / 4)

    def _store(self, array: np.ndarray) -> str:
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def _model(self, shape: tuple[int, ...]) -> onnx.ModelProto:
        image = helper.make_tensor_value_info(_INPUT, onnx.TensorProto.FLOAT, shape)
        logits = helper.make_tensor_value_info(
            _OUTPUT, onnx.TensorProto.FLOAT, (shape[0], _CLASSES)
        )
        graph = helper.make_graph(self._nodes, "resnet18", [image], [logits], self._weights)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
        onnx.checker.check_model(model)
        return model
