"""Networks of stages that grow by concatenation: what BinaryDenseNet and MeliusNet share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mxnet.gluon import HybridBlock

from ..errors import ModelError
from ..gluon import nn
from .blocks import ChannelShuffle
from .stems import stem_layers

DOWNSAMPLE_STRUCTURE = "bn,max_pool,relu,fp_conv"
_CHANNEL_MULTIPLE = 32
_SHUFFLE_GROUPS = 16
_DILATIONS = (1, 1, 2, 4)


@dataclass(frozen=True)
class DenseStagesConfig:
    """What decides the structure of a BinaryDenseNet or a MeliusNet.

    Attributes
    ----------
    block_config : tuple of int
        Number of blocks of each stage.
    reduction : tuple of float
        What each transition between two stages divides the channels by; the result is rounded to
        a multiple of 32.
    downsample_structure : str
        The layers of a transition, with commas between them: ``bn``, ``relu``, ``pool`` (average),
        ``max_pool``, ``q_conv``, ``fp_conv`` or ``fp_conv:GROUPS``, and ``cs`` or ``cs:GROUPS``
        (channel shuffle, 16 groups).
    growth_rate : int
        Channels that a block appends.
    init_features : int
        Channels after the stem.
    dilated : bool
        Keep the size of the image in the last two transitions and dilate the convolutions after
        them by 2 and 4.
    classes, in_channels : int
        Number of outputs, and channels of the image.
    initial_layers : {'imagenet', 'grouped_stem', 'thumbnail'}
        The stem.
    """

    block_config: tuple[int, ...] = ()
    reduction: tuple[float, ...] = (2, 2, 2)
    downsample_structure: str = DOWNSAMPLE_STRUCTURE
    growth_rate: int = 64
    init_features: int = 64
    dilated: bool = False
    classes: int = 1000
    in_channels: int = 3
    initial_layers: str = "imagenet"

    def __post_init__(self) -> None:
        if not self.block_config:
            return
        if len(self.reduction) != len(self.block_config) - 1:
            raise ModelError(
                f"Option reduction={self.reduction} does not fit {len(self.block_config)} stages. "
                "Give one number for each transition between two stages."
            )
        if self.dilated and len(self.block_config) != len(_DILATIONS):
            raise ModelError(
                f"A dilated network has {len(_DILATIONS)} stages, not {len(self.block_config)}. "
                "Give as many numbers in block_config."
            )

    def dilation(self, stage: int) -> int:
        """Dilation of a stage's convolutions."""
        return _DILATIONS[stage] if self.dilated else 1


MakeBlock = Callable[[int, int, int], list[HybridBlock]]
"""(channels, growth, dilation) -> the units of one block, which appends ``growth`` channels."""

# (channels, channels after the transition, groups or 0) -> layer
_TRANSITION_LAYERS: dict[str, Callable[[int, int, int], HybridBlock]] = {
    "bn": lambda channels, out, groups: nn.BatchNorm(in_channels=channels),
    "relu": lambda channels, out, groups: nn.Activation("relu"),
    "pool": lambda channels, out, groups: nn.AvgPool2D(pool_size=2, strides=2),
    "max_pool": lambda channels, out, groups: nn.MaxPool2D(pool_size=2, strides=2),
    "cs": lambda channels, out, groups: ChannelShuffle(groups or _SHUFFLE_GROUPS),
    "fp_conv": lambda channels, out, groups: nn.Conv2D(
        out, 1, groups=groups or 1, use_bias=False, in_channels=channels
    ),
    "q_conv": lambda channels, out, groups: nn.activated_conv(out, 1, in_channels=channels),
}
_POOLINGS = ("pool", "max_pool")
_CONVOLUTIONS = ("fp_conv", "q_conv")


def transition_channels(channels: int, reduction: float) -> int:
    """Return how many channels a transition leaves."""
    return round(channels // reduction / _CHANNEL_MULTIPLE) * _CHANNEL_MULTIPLE


def _transition(structure: str, channels: int, out: int, pools: bool) -> Iterator[HybridBlock]:
    for item in structure.split(","):
        name, _, groups = item.partition(":")
        if name not in _TRANSITION_LAYERS:
            raise ModelError(
                f"Transition layer '{name}' is unknown. "
                f"Choose from: {', '.join(_TRANSITION_LAYERS)}."
            )
        if pools or name not in _POOLINGS:
            yield _TRANSITION_LAYERS[name](channels, out, int(groups or 0))
        if name in _CONVOLUTIONS:
            channels = out
    if channels != out:
        raise ModelError(
            f"Transition '{structure}' cannot leave {out} of {channels} channels. "
            "Add a convolution: fp_conv or q_conv."
        )


def _stage(stage: int, channels: int, config: DenseStagesConfig, make_block: MakeBlock) -> Any:
    growth, dilation = config.growth_rate, config.dilation(stage)
    sequence = nn.HybridSequential(prefix=f"stage{stage + 1}_")
    with sequence.name_scope():
        for block in range(config.block_config[stage]):
            sequence.add(*make_block(channels + block * growth, growth, dilation))
    return sequence


def _head(channels: int, classes: int) -> list[HybridBlock]:
    # BMXNet v2 pools a fixed window of 7, 4 or 28: the whole image at its nominal size, so that
    # the numbers are the same; but any other size fails there.
    return [
        nn.BatchNorm(in_channels=channels),
        nn.Activation("relu"),
        nn.GlobalAvgPool2D(),
        nn.Flatten(),
        nn.Dense(classes, in_units=channels),
    ]


def dense_stages(
    config: DenseStagesConfig, make_block: MakeBlock, prefix: str, params: Any = None
) -> HybridBlock:
    """Build a network whose stages grow.

    Parameters
    ----------
    config : DenseStagesConfig
        Its structure.
    make_block : callable
        Makes the units of a block from its input's channels, the growth and the dilation.
    prefix, params
        Of a Gluon block.

    Returns
    -------
    HybridBlock
        Maps (N, in_channels, H, W) to logits (N, classes).

    Raises
    ------
    ModelError
        The configuration has no stages, or a layer that is not known.
    """
    if not config.block_config:
        raise ModelError(
            "Option block_config is missing. Give the number of blocks of each stage, as (6, 6, 6)."
        )
    channels = config.init_features
    net = nn.HybridSequential(prefix=prefix, params=params)
    with net.name_scope():
        net.add(*stem_layers(config.initial_layers, config.in_channels, channels))
        for stage, blocks in enumerate(config.block_config):
            if stage:
                out = transition_channels(channels, config.reduction[stage - 1])
                pools = config.dilation(stage) == 1
                net.add(*_transition(config.downsample_structure, channels, out, pools))
                channels = out
            net.add(_stage(stage, channels, config, make_block))
            channels += blocks * config.growth_rate
        net.add(*_head(channels, config.classes))
    return net
