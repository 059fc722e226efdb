"""Draws small networks from the grammar of the layers: every option, in every combination.

A network is a stem, two to four pieces and a tail. Each piece maps data of a known shape to data
of a known shape, so that whatever is drawn fits together.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from mxnet.gluon import HybridBlock

from bnn_tvm.gluon import nn

Shape = tuple[int, ...]
CONVS = {1: nn.Conv1D, 2: nn.Conv2D, 3: nn.Conv3D}
QCONVS = {1: nn.QConv1D, 2: nn.QConv2D, 3: nn.QConv3D}
MAX_POOLS = {1: nn.MaxPool1D, 2: nn.MaxPool2D, 3: nn.MaxPool3D}
AVG_POOLS = {1: nn.AvgPool1D, 2: nn.AvgPool2D, 3: nn.AvgPool3D}
EXTENTS = {1: (8, 24), 2: (5, 9), 3: (4, 6)}


class Sum(HybridBlock):
    """Adds what its branches give."""

    def __init__(self, *branches):
        super().__init__()
        self.register_children(*branches)
        self.branches = branches

    def register_children(self, *branches):
        for branch in branches:
            self.register_child(branch)

    def hybrid_forward(self, F, x):  # noqa: N803
        first, second = (branch(x) for branch in self.branches)
        return first + second


class Concatenation(Sum):
    """Concatenates what its branches give along the channels."""

    def hybrid_forward(self, F, x):  # noqa: N803
        return F.concat(*(branch(x) for branch in self.branches), dim=1)


class Slice(HybridBlock):
    """Takes a range of channels."""

    def __init__(self, begin, end):
        super().__init__()
        self.range = {"axis": 1, "begin": begin, "end": end}

    def hybrid_forward(self, F, x):  # noqa: N803
        return F.slice_axis(x, **self.range)


class Shuffle(HybridBlock):
    """Interleaves the channels of groups, as MeliusNet does."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def hybrid_forward(self, F, x):  # noqa: N803
        split = F.reshape(x, shape=(0, -4, self.groups, -1, -2))
        return F.reshape(F.swapaxes(split, 1, 2), shape=(0, -3, -2))


class Improvement(HybridBlock):
    """Adds a branch to the last channels, as MeliusNet does."""

    def __init__(self, channels, last, branch):
        super().__init__()
        self.first, self.last = Slice(0, channels - last), Slice(channels - last, None)
        self.branch = branch

    def hybrid_forward(self, F, x):  # noqa: N803
        return F.concat(self.first(x), self.last(x) + self.branch(x), dim=1)


def sequence(*layers):
    block = nn.HybridSequential()
    block.add(*layers)
    return block


def identity():
    return nn.HybridLambda(lambda F, x: F.identity(x))  # noqa: N803


@dataclass
class Network:
    """A drawn network, not yet initialized, and the shape of its input."""

    net: HybridBlock
    shape: Shape


@dataclass
class Grammar:
    """Draws one network.

    Attributes
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
        (N, C, ...) of what has been drawn so far.
    """

    rng: np.random.Generator
    dimensions: int = 2
    shape: Shape = ()
    layers: list[HybridBlock] = field(default_factory=list)

    def network(self) -> Network:
        self.dimensions = int(self.rng.choice((1, 2, 2, 2, 3)))
        low, high = EXTENTS[self.dimensions]
        extents = self.rng.integers(low, high, self.dimensions, endpoint=True)
        start = (int(self.rng.integers(1, 4)), self.channels(), *map(int, extents))
        self.shape = start
        self.add(self.stem)
        for _ in range(int(self.rng.integers(2, 5))):
            self.add(self.any_of(self.pieces()))
        self.add(self.any_of([self.dense_tail, self.pooled_tail, identity]))
        return Network(sequence(*self.layers), start)

    def pieces(self) -> list[Callable[[], HybridBlock]]:
        return [
            self.layer, self.layer, self.residual, self.dense, self.shared, self.improvement,
            self.moved_signs, self.pool, self.activation,
        ]  # fmt: skip

    def add(self, piece: Callable[[], HybridBlock]) -> None:
        self.layers.append(piece())

    def any_of(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def channels(self) -> int:
        """Draw whole words and other numbers."""
        return self.any_of([32, 64, 16, 8, 40, int(self.rng.integers(1, 70))])

    def stem(self) -> HybridBlock:
        if self.chance(0.5):
            return identity()
        channels = self.channels()
        self.shape = (self.shape[0], channels, *self.shape[2:])
        return CONVS[self.dimensions](channels, 3, padding=1)

    def quantizer(self) -> HybridBlock:
        """Draw 1 bit (signs or 0 and 1), or 2 to 8 bits, behind a batch norm or not."""
        bits = self.any_of([1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8])
        methods = ["det_sign"] * 3 + ["round"] if bits == 1 else ["round", "round", "dorefa"]
        quantizer = nn.QActivation(bits=bits, method=self.any_of(methods))
        return sequence(nn.BatchNorm(), quantizer) if self.chance(0.6) else quantizer

    def weight_options(self) -> dict:
        bits = self.any_of([1, 1, 1, 2, 3, 4, 6, 8])
        return {"bits": bits, "quantization": "det_sign" if bits == 1 else "dorefa"}

    def form(self) -> dict:
        options = {"no_offset": self.chance(0.3)}
        return options | {"apply_scaling": self.chance(0.3)}

    def groups(self, channels: int) -> int:
        divisors = [g for g in range(2, channels + 1) if channels % g == 0]
        return self.any_of(divisors) if divisors and self.chance(0.3) else 1

    def outputs(self, groups: int) -> int:
        return groups * max(1, self.channels() // groups)

    def window(self) -> tuple[dict, Shape]:
        """Draw a window that fits, and the extents of its result."""
        found: dict[str, list[int]] = {
            name: [] for name in ("kernel_size", "strides", "dilation", "padding")
        }
        extents = []
        for extent in self.shape[2:]:
            dilation, padding = int(self.rng.integers(1, 3)), int(self.rng.integers(0, 3))
            most = (extent + 2 * padding - 1) // dilation + 1
            kernel = min(int(self.rng.integers(1, 4)), most)
            stride = int(self.rng.integers(1, 4))
            for name, value in zip(found, (kernel, stride, dilation, padding), strict=True):
                found[name].append(value)
            extents.append((extent + 2 * padding - (kernel - 1) * dilation - 1) // stride + 1)
        return {name: tuple(values) for name, values in found.items()}, tuple(extents)

    def same_window(self) -> dict:
        """Draw a window that keeps the extents."""
        dilation, odd = int(self.rng.integers(1, 3)), self.any_of([1, 3, 3])
        return {"kernel_size": odd, "dilation": dilation, "padding": dilation * (odd // 2)}

    def conv(self, channels: int, inputs: int = 0, **window) -> HybridBlock:
        """Draw a layer; by default it reads data of the present shape.

        MXNet cannot infer the shape of weights behind DoReFa's maximum, hence the inputs.
        """
        options = self.weight_options() | self.form()
        inputs = inputs or self.shape[1]
        return QCONVS[self.dimensions](channels, in_channels=inputs, **window, **options)

    def same_conv(self, channels: int, inputs: int = 0) -> HybridBlock:
        """Quantizer and layer of the same extents; in 2-D at times a block with scaling."""
        if self.dimensions == 2 and self.chance(0.3):
            return self.scaled_block(channels)
        return sequence(self.quantizer(), self.conv(channels, inputs, **self.same_window()))

    def scaled_block(self, channels: int) -> HybridBlock:
        with nn.set_binary_layer_config(approximation=self.any_of(["binet", "xnor"])):
            block = nn.activated_conv(channels, **self.same_window())
        return sequence(nn.BatchNorm(), block)

    def layer(self) -> HybridBlock:
        window, extents = self.window()
        groups = self.groups(self.shape[1])
        channels = self.outputs(groups)
        layer = self.conv(channels, groups=groups, **window)
        self.shape = (self.shape[0], channels, *extents)
        return sequence(self.quantizer(), layer)

    def residual(self) -> HybridBlock:
        body = sequence(self.same_conv(self.shape[1]), nn.BatchNorm())
        return Sum(body, identity())

    def dense(self) -> HybridBlock:
        new = self.channels()
        block = Concatenation(identity(), self.same_conv(new))
        self.shape = (self.shape[0], self.shape[1] + new, *self.shape[2:])
        return block

    def shared(self) -> HybridBlock:
        """Two layers, or a layer and an addition, read the same quantized tensor."""
        channels = self.channels()
        first = self.conv(channels, **self.same_window())
        second = self.conv(channels, **self.same_window())
        if self.chance(0.3):
            first, second = self.conv(self.shape[1], **self.same_window()), identity()
            channels = self.shape[1]
        self.shape = (self.shape[0], channels, *self.shape[2:])
        return sequence(self.quantizer(), Sum(first, second))

    def improvement(self) -> HybridBlock:
        channels = self.shape[1]
        last = max(1, channels // 2)
        return Improvement(channels, last, self.same_conv(last))

    def moved_signs(self) -> HybridBlock:
        """Signs that are concatenated, sliced, shuffled or pooled before a layer reads them."""
        channels = self.shape[1]
        groups = [g for g in (2, 4, 16) if channels % g == 0] or [1]
        half = 32 if channels > 32 else max(1, channels // 2)
        halves = [sequence(Slice(*part), nn.QActivation()) for part in ((0, half), (half, None))]
        normed = sequence(nn.BatchNorm(), nn.QActivation())
        pool = MAX_POOLS[self.dimensions](3, 1, 1)
        signs, inputs = self.any_of([
            (Concatenation(nn.QActivation(), normed), 2 * channels),
            (Concatenation(*halves) if channels > 1 else nn.QActivation(), channels),
            (sequence(nn.QActivation(), Slice(0, half)), half),
            (sequence(nn.QActivation(), Shuffle(self.any_of(groups))), channels),
            (sequence(nn.QActivation(), pool), channels),
        ])  # fmt: skip
        outputs = self.channels()
        self.shape = (self.shape[0], outputs, *self.shape[2:])
        return sequence(signs, self.conv(outputs, inputs, **self.same_window()))

    def pool(self) -> HybridBlock:
        pools = self.any_of([MAX_POOLS, AVG_POOLS])
        size = 2 if min(self.shape[2:]) > 1 else 1
        extents = [(extent - size) // size + 1 for extent in self.shape[2:]]
        self.shape = (*self.shape[:2], *extents)
        return pools[self.dimensions](size, size)

    def activation(self) -> HybridBlock:
        return nn.Activation(self.any_of(["relu", "tanh", "sigmoid"]))

    def dense_tail(self) -> HybridBlock:
        bits = self.any_of([1, 1, 2, 4])
        units, options = int(self.rng.integers(1, 40)), {"no_offset": self.chance(0.5)}
        with nn.set_binary_layer_config(bits=bits):
            layer = nn.QDense(units, in_units=math.prod(self.shape[1:]), **options)
        before = [nn.Flatten()] if self.chance(0.5) else []
        return sequence(self.quantizer(), *before, layer)

    def pooled_tail(self) -> HybridBlock:
        pools = {1: nn.GlobalAvgPool1D, 2: nn.GlobalAvgPool2D, 3: nn.GlobalAvgPool3D}
        return sequence(pools[self.dimensions](), nn.Flatten(), nn.Dense(5))


def draw_network(seed: int) -> Network:
    return Grammar(np.random.default_rng(seed)).network()
