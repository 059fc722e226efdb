"""MeliusNet: dense blocks that append features in turn with blocks that improve them."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import HybridBlock

from .blocks import DenseUnit, ImprovementUnit
from .dense_stages import DOWNSAMPLE_STRUCTURE, DenseStagesConfig, dense_stages


def _melius_block(channels: int, growth: int, dilation: int) -> list[HybridBlock]:
    return [
        DenseUnit(channels, growth, dilation),
        ImprovementUnit(channels + growth, growth, dilation),
    ]


def meliusnet(
    config: DenseStagesConfig, prefix: str | None = None, params: Any = None
) -> HybridBlock:
    """Build a MeliusNet (arXiv:2001.05936).

    Parameters
    ----------
    config : DenseStagesConfig
        Its structure; a block is a dense unit and an improvement unit.
    prefix, params
        Of a Gluon block; the prefix is ``meliusnet_`` by default.

    Returns
    -------
    HybridBlock
        Maps (N, in_channels, H, W) to logits (N, classes).
    """
    return dense_stages(config, _melius_block, prefix or "meliusnet_", params)


def _shuffled(groups: int) -> str:
    return DOWNSAMPLE_STRUCTURE.replace("fp_conv", f"cs,fp_conv:{groups}")


# The reductions are written as the channels before and after each transition.
MELIUSNET = {
    "meliusnet22": DenseStagesConfig((4, 5, 4, 4), (320 / 160, 480 / 224, 480 / 256)),
    "meliusnet29": DenseStagesConfig((4, 6, 8, 6), (320 / 128, 512 / 192, 704 / 256)),
    "meliusnet42": DenseStagesConfig((5, 8, 14, 10), (384 / 160, 672 / 256, 1152 / 416)),
    "meliusnet59": DenseStagesConfig((6, 12, 24, 12), (448 / 192, 960 / 320, 1856 / 544)),
    "meliusnet_a": DenseStagesConfig(
        (4, 5, 5, 6), (320 / 160, 480 / 256, 576 / 288), _shuffled(groups=4)
    ),
    "meliusnet_b": DenseStagesConfig(
        (4, 6, 8, 6), (320 / 160, 544 / 224, 736 / 320), _shuffled(groups=2)
    ),
    "meliusnet_c": DenseStagesConfig(
        (3, 5, 10, 6), (256 / 128, 448 / 192, 832 / 288), _shuffled(groups=4)
    ),
    "meliusnet_flex": DenseStagesConfig(),
}
