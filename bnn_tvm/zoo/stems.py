"""What stands before the first binary layer: convolutions in full precision."""

from __future__ import annotations

from collections.abc import Callable

from mxnet.gluon import HybridBlock

from ..errors import ModelError
from ..gluon import nn


def stem_layers(name: str, in_channels: int, channels: int) -> list[HybridBlock]:
    """Return the layers of a stem, named in the current scope.

    Parameters
    ----------
    name : {'imagenet', 'grouped_stem', 'thumbnail'}
        7 x 7 convolution and pooling; three smaller convolutions, two of them in groups, and
        pooling; one 3 x 3 convolution for images below 50 pixels. The first two divide height and
        width by 4, the last keeps them.
    in_channels, channels : int
        Channels of the image and of the result.

    Raises
    ------
    ModelError
        No stem has that name.
    """
    if name not in _STEMS:
        raise ModelError(f"Stem '{name}' is unknown. Choose one of: {', '.join(_STEMS)}.")
    return _STEMS[name](in_channels, channels)


def _conv(
    in_channels: int, channels: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> HybridBlock:
    return nn.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding=kernel // 2,
        groups=groups,
        use_bias=False,
        in_channels=in_channels,
    )


def _norm_and_relu(channels: int) -> list[HybridBlock]:
    return [nn.BatchNorm(in_channels=channels), nn.Activation("relu")]


def _pool() -> HybridBlock:
    return nn.MaxPool2D(pool_size=3, strides=2, padding=1)


def _imagenet(in_channels: int, channels: int) -> list[HybridBlock]:
    conv = _conv(in_channels, channels, kernel=7, stride=2)
    return [conv, *_norm_and_relu(channels), _pool()]


def _grouped(in_channels: int, channels: int) -> list[HybridBlock]:
    half = channels // 2
    stem = nn.HybridSequential(prefix="stem_")
    with stem.name_scope():
        stem.add(_conv(in_channels, half, stride=2), *_norm_and_relu(half))
        stem.add(_conv(half, half, groups=4), *_norm_and_relu(half))
        stem.add(_conv(half, channels, groups=8))
    return [stem, *_norm_and_relu(channels), _pool()]


def _thumbnail(in_channels: int, channels: int) -> list[HybridBlock]:
    return [_conv(in_channels, channels)]


_STEMS: dict[str, Callable[[int, int], list[HybridBlock]]] = {
    "imagenet": _imagenet,
    "grouped_stem": _grouped,
    "thumbnail": _thumbnail,
}
