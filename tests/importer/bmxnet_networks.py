"""Residual networks as BMXNet's converters write them, and the same ones as stock MXNet reads them.

A network is written in one of three forms: packed into words of 32 or 64 bits, or with float
weights and operators of stock MXNet only, so that MXNet itself can say what is right.
"""

from __future__ import annotations

import json
from enum import Enum

import mxnet as mx
import numpy as np
from importer_harness import GraphText, run_mxnet

from bnn_tvm.importer import Graph, graph_from_text


class Form(Enum):
    """How binary layers are written; the value is the word's width."""

    FLOAT = 0
    WORDS_32 = 32
    WORDS_64 = 64


class NetworkText:
    """Writes nodes and draws their parameters, the same for every form.

    Attributes
    ----------
    form : Form
    text : GraphText
    params : dict of str to numpy.ndarray
    """

    statistics = ("running_mean", "running_var")

    def __init__(self, form: Form, prefix: str = "", attribute_key: str = "attrs") -> None:
        self.form = form
        self.prefix = prefix
        self.text = GraphText(attribute_key if form is not Form.FLOAT else "attrs")
        self.params: dict[str, np.ndarray] = {}

    def add(self, op: str, name: str, inputs: list[int], **attributes: str) -> int:
        return self.text.add(op, self.prefix + name, inputs, **attributes)

    def draw(self, name: str, *shape: int) -> np.ndarray:
        seed = np.frombuffer(name.encode(), np.uint8)
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    def variable(self, name: str, array: np.ndarray, kind: str = "arg", declare=True) -> int:
        self.params[f"{kind}:{self.prefix}{name}"] = array
        shape = {"__shape__": str(array.shape).replace(", ", ",", 1)} if declare else {}
        return self.text.variable(self.prefix + name, **shape)

    def norm(self, x: int, name: str, channels: int, **attributes: str) -> int:
        """Normalize, with scales of both signs."""
        slots = [
            self.variable(f"{name}_{part}", self.draw(f"{name}_{part}", channels), declare=False)
            for part in ("gamma", "beta")
        ]
        mean, var = (self.draw(f"{name}_{part}", channels) for part in self.statistics)
        for part, array in zip(self.statistics, (mean, var**2 + 0.5), strict=True):
            slots.append(self.variable(f"{name}_{part}", array, "aux", declare=False))
        return self.add("BatchNorm", f"{name}_fwd", [x, *slots], **attributes)

    def conv(self, x: int, name: str, shape: tuple[int, ...], **attributes: str) -> int:
        weight = self.draw(f"{name}_weight", *shape) / np.sqrt(np.prod(shape[1:]))
        slots = [x, self.variable(f"{name}_weight", weight.astype(np.float32))]
        sizes = {"kernel": str(shape[2:]), "num_filter": str(shape[0]), "no_bias": "True"}
        return self.add("Convolution", f"{name}_fwd", slots, **sizes, **attributes)

    def pool(self, x: int, name: str, kind: str, **attributes: str) -> int:
        return self.add("Pooling", f"{name}_fwd", [x], pool_type=kind, **attributes)

    def relu(self, x: int, name: str) -> int:
        return self.add("Activation", name, [x], act_type="relu")

    def binary_weight(self, name: str, shape: tuple[int, ...]) -> int:
        """Add the weight of a binary convolution: -1 and +1, or words of the nominal shape."""
        signs = np.where(self.draw(name, *shape) < 0, -1, 1).astype(np.float32)
        if self.form is Form.FLOAT:
            return self.variable(name, signs)
        width = self.form.value
        nominal = (shape[0], shape[1] // width, *shape[2:])
        octets = np.packbits(signs.reshape(-1) > 0, bitorder="little")
        return self.variable(name, octets.view(f"f{width // 8}").reshape(nominal))

    def stock_count(
        self, x: int, name: str, shape: tuple[int, ...], stride: str, padding: int = 0
    ) -> int:
        """Count agreements with operators of stock MXNet; a border there may be is of +1."""
        positive = self.add("_greater_equal_scalar", f"{name}_positive", [x], scalar="0")
        twice = self.add("_mul_scalar", f"{name}_twice", [positive], scalar="2")
        signs = self.add("_minus_scalar", f"{name}_signs", [twice], scalar="1")
        if padding:
            width = f"(0, 0, 0, 0, {padding}, {padding}, {padding}, {padding})"
            border = {"mode": "constant", "constant_value": "1", "pad_width": width}
            signs = self.add("Pad", f"{name}_border", [signs], **border)
        slots = [signs, self.binary_weight(f"{name}_weight", shape)]
        sizes = {"kernel": str(shape[2:]), "num_filter": str(shape[0]), "no_bias": "True"}
        dot = self.add("Convolution", f"{name}_dot", slots, stride=stride, **sizes)
        fan_in = str(int(np.prod(shape[1:])))
        whole = self.add("_plus_scalar", f"{name}_plus", [dot], scalar=fan_in)
        return self.add("_div_scalar", f"{name}_fwd", [whole], scalar="2")

    def classify(self, x: int, name: str, inputs: int, classes: int) -> int:
        slots = [
            self.variable(f"{name}_weight", self.draw(f"{name}_weight", classes, inputs) / 16),
            self.variable(f"{name}_bias", self.draw(f"{name}_bias", classes)),
        ]
        return self.text.add("FullyConnected", f"{name}_fwd", [x, *slots], num_hidden=str(classes))

    def json(self) -> str:
        """Write the symbol with all the keys that MXNet writes."""
        symbol = json.loads(self.text.text())
        nodes = symbol["nodes"]
        symbol["arg_nodes"] = [i for i, node in enumerate(nodes) if node["op"] == "null"]
        symbol["node_row_ptr"] = list(range(len(nodes) + 1))
        symbol["attrs"] = {"mxnet_version": ["int", 10501]}
        return json.dumps(symbol)

    def graph(self) -> Graph:
        return graph_from_text(self.json(), self.params)

    def run_mxnet(self, x: np.ndarray) -> np.ndarray:
        params = {name.partition(":")[2]: array for name, array in self.params.items()}
        symbol = mx.sym.load_json(self.json())
        return run_mxnet(symbol, {"data": x}, params)[0]


class ResNetE(NetworkText):
    """ResNetE as BMXNet v2 exports and converts it.

    Parameters
    ----------
    channels : tuple of int
        Of the stages.
    units : int
        Binary convolutions of a stage.
    """

    def __init__(self, form: Form, channels: tuple[int, ...], units: int, classes: int) -> None:
        super().__init__(form, "resnete10_")
        x = self.norm(self.text.variable("data"), "batchnorm0", 3, eps="2e-05", fix_gamma="True")
        x = self.stem(x, channels[0])
        before = channels[0]
        for stage, width in enumerate(channels, 1):
            for unit in range(units):
                x = self.unit(x, f"stage{stage}", unit, before, width, stage > 1 and unit == 0)
                before = width
        x = self.pool(
            self.relu(x, "relu1"), "pool1", "avg",
            kernel="(1, 1)", global_pool="True", pooling_convention="full",
        )  # fmt: skip
        x = self.classify(self.add("Flatten", "flatten0", [x]), "dense0", before, classes)
        self.text.add("softmax", "softmax_label", [x], axis="1")

    def plain_norm(self, x: int, name: str, channels: int) -> int:
        return self.norm(x, name, channels, eps="1e-05", fix_gamma="False")

    def stem(self, x: int, channels: int) -> int:
        x = self.conv(x, "conv0", (channels, 3, 7, 7), stride="(2, 2)", pad="(3, 3)")
        x = self.relu(self.plain_norm(x, "batchnorm1", channels), "relu0")
        window = {"kernel": "(3, 3)", "stride": "(2, 2)", "pad": "(1, 1)"}
        x = self.pool(x, "pool0", "max", pooling_convention="valid", **window)
        return self.plain_norm(x, "batchnorm2", channels)

    def unit(self, x: int, stage: str, number: int, inputs: int, filters: int, halve: bool) -> int:
        name = f"{stage}_qconv{number}"
        border = {"mode": "constant", "constant_value": "-1"}
        padded = self.add(
            "Pad", f"{name}_pad0", [x], pad_width="[0, 0, 0, 0, 1, 1, 1, 1]", **border
        )
        count = self.count(padded, name, (filters, inputs, 3, 3), "(2, 2)" if halve else "(1, 1)")
        branch = self.plain_norm(count, f"{stage}_batchnorm{number}", filters)
        shortcut = self.downsample(x, stage, inputs, filters) if halve else x
        return self.add("elemwise_add", f"{stage}_plus{number}", [branch, shortcut])

    def downsample(self, x: int, stage: str, inputs: int, filters: int) -> int:
        x = self.pool(x, f"{stage}_pool0", "avg", kernel="(2, 2)", stride="(2, 2)")
        x = self.conv(x, f"{stage}_sc_conv0", (filters, inputs, 1, 1))
        return self.plain_norm(x, f"{stage}_sc_batchnorm", filters)

    def count(self, x: int, name: str, shape: tuple[int, ...], stride: str) -> int:
        if self.form is Form.FLOAT:
            return self.stock_count(x, name, shape, stride)
        slots = [x, self.binary_weight(f"{name}_weight", shape)]
        sizes = {"kernel": str(shape[2:]), "num_filter": str(shape[0]), "num_group": "1"}
        rest = {"pad": "(0, 0)", "dilate": "(1, 1)", "layout": "NCHW", "no_bias": "True"}
        return self.add(
            "BinaryInferenceConvolution", f"{name}_fwd", slots, stride=stride, **sizes, **rest
        )


class BinaryResNet(NetworkText):
    """A pre-activation ResNet as BMXNet v1 converts it.

    The shortcut that changes the shape is binary, borders are of +1, and the last pooling is
    global whatever its kernel says.
    """

    statistics = ("moving_mean", "moving_var")

    def __init__(self, form: Form, channels: tuple[int, ...], classes: int) -> None:
        super().__init__(form, attribute_key="attr")
        x = self.norm(self.text.variable("data"), "bn_data", 3, eps="2e-05")
        x = self.conv(x, "conv0", (channels[0], 3, 3, 3), stride="(1, 1)", pad="(1, 1)")
        x = self.relu(self.plain_norm(x, "bn0", channels[0]), "relu0")
        window = {"kernel": "(3, 3)", "stride": "(2, 2)", "pad": "(1, 1)"}
        x = self.pool(x, "pool0", "max", **window)
        before = channels[0]
        for stage, width in enumerate(channels, 1):
            for unit in range(2):
                x = self.unit(x, f"stage{stage}_unit{unit + 1}", before, width, stage > 1 > unit)
                before = width
        x = self.relu(self.plain_norm(x, "bn1", before), "relu1")
        x = self.pool(x, "pool1", "avg", kernel="(7, 7)", global_pool="True")
        x = self.classify(self.add("Flatten", "flatten0", [x]), "fc1", before, classes)
        labels = self.text.variable("softmax_label")
        inputs = [x] if form is Form.FLOAT else [x, labels]
        self.text.add("softmax" if form is Form.FLOAT else "SoftmaxOutput", "softmax", inputs)

    def plain_norm(self, x: int, name: str, channels: int) -> int:
        return self.norm(x, name, channels, eps="2e-05", fix_gamma="False")

    def unit(self, x: int, name: str, inputs: int, filters: int, halve: bool) -> int:
        stride = "(2, 2)" if halve else "(1, 1)"
        first = self.activated(x, f"{name}_bn1", inputs)
        body = self.count(first, f"{name}_conv1", (filters, inputs, 3, 3), stride, 1)
        second = self.activated(body, f"{name}_bn2", filters)
        body = self.count(second, f"{name}_conv2", (filters, filters, 3, 3), "(1, 1)", 1)
        shortcut = self.count(first, f"{name}_sc", (filters, inputs, 1, 1), stride) if halve else x
        return self.add("elemwise_add", f"{name}_plus", [body, shortcut])

    def activated(self, x: int, name: str, channels: int) -> int:
        """Normalize; the activation does nothing but cancel gradients."""
        x = self.plain_norm(x, name, channels)
        if self.form is Form.FLOAT:
            return x
        return self.add("QActivation", f"{name}_qact", [x], backward_only="True")

    def count(
        self, x: int, name: str, shape: tuple[int, ...], stride: str, padding: int = 0
    ) -> int:
        if self.form is Form.FLOAT:
            return self.stock_count(x, name, shape, stride, padding)
        slots = [x, self.binary_weight(f"{name}_weight", shape)]
        sizes = {"kernel": str(shape[2:]), "num_filter": str(shape[0]), "stride": stride}
        rest = {"pad": f"({padding}, {padding})", "binarized_weights_only": "True"}
        return self.add("QConvolution", f"{name}_fwd", slots, **sizes, **rest)
