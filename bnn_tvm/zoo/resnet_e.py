"""ResNetE: residual networks with a shortcut around every binary convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mxnet.gluon import HybridBlock

from ..errors import ModelError
from ..gluon import nn
from ..gluon.functions import Tensor
from .blocks import add_to_slice, sequence
from .stems import stem_layers

_INPUT_EPSILON = 2e-5


@dataclass(frozen=True)
class ResNetEConfig:
    """What decides the structure of a ResNetE (arXiv:1906.08637).

    Attributes
    ----------
    version : {1, 2}
        1: BatchNorm after each binary convolution; 2: before it.
    convolutions : tuple of int
        Binary 3 x 3 convolutions of each stage.
    channels : tuple of int
        Channels after the stem, then of each stage.
    classes, in_channels : int
        Number of outputs, and channels of the image.
    initial_layers : {'imagenet', 'grouped_stem', 'thumbnail'}
        The stem.
    fp_downsample_sc : bool
        The 1 x 1 convolution of a shortcut that changes the shape is in full precision, else
        binary.
    pool_downsample_sc : bool
        Such a shortcut halves the image by average pooling, else by its convolution's stride.
    downsample_sc_groups : int
        Groups of that convolution in full precision.
    slices : {1, 2, 4, 8}
        Each unit computes this part of the channels and leaves the others as they are; there are
        as many more units.
    """

    version: int
    convolutions: tuple[int, ...]
    channels: tuple[int, ...] = (64, 64, 128, 256, 512)
    classes: int = 1000
    in_channels: int = 3
    initial_layers: str = "imagenet"
    fp_downsample_sc: bool = True
    pool_downsample_sc: bool = True
    downsample_sc_groups: int = 1
    slices: int = 1

    def __post_init__(self) -> None:
        if self.slices not in (1, 2, 4, 8):
            raise ModelError(f"Option slices={self.slices} is not supported. Choose 1, 2, 4 or 8.")
        if len(self.channels) != len(self.convolutions) + 1:
            raise ModelError(
                f"Option channels={self.channels} does not fit {len(self.convolutions)} stages. "
                "Give the stem's channels, then those of each stage."
            )


@dataclass(frozen=True)
class _UnitShape:
    in_channels: int
    channels: int
    stride: int = 1
    slices: int = 1
    slice_index: int = 0

    @property
    def width(self) -> int:
        return self.channels // self.slices

    @property
    def changes(self) -> bool:
        return self.stride != 1 or self.in_channels != self.channels


def _binary_conv(shape: _UnitShape) -> HybridBlock:
    return nn.activated_conv(
        shape.width, 3, stride=shape.stride, padding=1, in_channels=shape.in_channels
    )


def _shortcut_layers(shape: _UnitShape, config: ResNetEConfig) -> list[HybridBlock]:
    # Rounded up like the size of the convolution around which the shortcut goes.
    pools = config.pool_downsample_sc and shape.stride != 1
    pooling = [nn.AvgPool2D(pool_size=2, strides=2, ceil_mode=True)] if pools else []
    stride = 1 if pools else shape.stride
    if not config.fp_downsample_sc:
        conv = nn.activated_conv(
            shape.channels, 1, stride=stride, in_channels=shape.in_channels, prefix="sc_qconv_"
        )
        return [*pooling, conv]
    conv = nn.Conv2D(
        shape.channels,
        1,
        strides=stride,
        groups=config.downsample_sc_groups,
        use_bias=False,
        in_channels=shape.in_channels,
        prefix="sc_conv_",
    )
    return [*pooling, conv]


class _Unit(HybridBlock):
    """One binary convolution with a shortcut around it."""

    body: HybridBlock
    shortcut: HybridBlock | None

    def __init__(self, shape: _UnitShape) -> None:
        super().__init__(prefix="")
        self._shape = shape

    def _add(self, ops: Any, shortcut: Tensor, update: Tensor) -> Tensor:
        shape = self._shape
        begin = shape.width * shape.slice_index
        return add_to_slice(ops, shortcut, update, begin, shape.width, shape.channels)


class UnitV1(_Unit):
    """Binary convolution, then BatchNorm, plus the input."""

    def __init__(self, shape: _UnitShape, config: ResNetEConfig) -> None:
        super().__init__(shape)
        self.body = sequence(_binary_conv(shape), nn.BatchNorm(in_channels=shape.width))
        self.shortcut = None
        if shape.changes:
            layers = _shortcut_layers(shape, config)
            self.shortcut = sequence(*layers, nn.BatchNorm(in_channels=shape.channels))

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        shortcut = self.shortcut(x) if self.shortcut else x
        return self._add(F, shortcut, self.body(x))


class UnitV2(_Unit):
    """BatchNorm, then binary convolution, plus the input or, where shapes change, its shortcut."""

    def __init__(self, shape: _UnitShape, config: ResNetEConfig) -> None:
        super().__init__(shape)
        self.norm = nn.BatchNorm(in_channels=shape.in_channels)
        self.body = _binary_conv(shape)
        self.shortcut = sequence(*_shortcut_layers(shape, config)) if shape.changes else None

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Map (N, in_channels, H, W) to (N, channels, H / stride, W / stride)."""
        normalized = self.norm(x)
        shortcut = self.shortcut(normalized) if self.shortcut else x
        return self._add(F, shortcut, self.body(normalized))


_UNITS = {1: UnitV1, 2: UnitV2}


def _stage_shapes(index: int, config: ResNetEConfig) -> list[_UnitShape]:
    """Return the shapes of a stage's units; one that halves the image is never sliced."""
    in_channels, channels = config.channels[index : index + 2]
    count, slices = config.convolutions[index], config.slices
    shapes = [] if index == 0 else [_UnitShape(in_channels, channels, stride=2)]
    for i in range((count - len(shapes)) * slices):
        source = channels if shapes else in_channels
        shapes.append(_UnitShape(source, channels, slices=slices, slice_index=i % slices))
    return shapes


def _stage(index: int, config: ResNetEConfig) -> HybridBlock:
    stage = nn.HybridSequential(prefix=f"stage{index + 1}_")
    unit = _UNITS[config.version]
    with stage.name_scope():
        stage.add(*(unit(shape, config) for shape in _stage_shapes(index, config)))
    return stage


def resnet_e(config: ResNetEConfig, prefix: str | None = None, params: Any = None) -> HybridBlock:
    """Build a ResNetE.

    Parameters
    ----------
    config : ResNetEConfig
        Its structure.
    prefix, params
        Of a Gluon block; the prefix is ``resnete1_`` or ``resnete2_`` by default.

    Returns
    -------
    HybridBlock
        Maps (N, in_channels, H, W) to logits (N, classes).
    """
    after_stem, before_head = (1, 0) if config.version == 1 else (0, 1)
    first, last = config.channels[0], config.channels[-1]
    net = nn.HybridSequential(prefix=prefix or f"resnete{config.version}_", params=params)
    with net.name_scope():
        net.add(
            nn.BatchNorm(scale=False, epsilon=_INPUT_EPSILON, in_channels=config.in_channels),
            *stem_layers(config.initial_layers, config.in_channels, first),
            *(nn.BatchNorm(in_channels=first) for _ in range(after_stem)),
            *(_stage(index, config) for index in range(len(config.convolutions))),
            *(nn.BatchNorm(in_channels=last) for _ in range(before_head)),
            nn.Activation("relu"),
            nn.GlobalAvgPool2D(),
            nn.Flatten(),
            nn.Dense(config.classes, in_units=last),
        )
    return net


RESNET_E = {
    f"resnet{layers}_e{version}": ResNetEConfig(version, convolutions)
    for version in (1, 2)
    for layers, convolutions in ((18, (4, 4, 4, 4)), (34, (6, 8, 12, 6)))
}
