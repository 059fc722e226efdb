"""BinaryDenseNet: every binary convolution appends its features to its input."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import HybridBlock

from .blocks import DenseUnit
from .dense_stages import DenseStagesConfig, dense_stages


def _dense_block(channels: int, growth: int, dilation: int) -> list[HybridBlock]:
    return [DenseUnit(channels, growth, dilation)]


def densenet(
    config: DenseStagesConfig, prefix: str | None = None, params: Any = None
) -> HybridBlock:
    """Build a BinaryDenseNet (arXiv:1906.08637).

    Parameters
    ----------
    config : DenseStagesConfig
        Its structure.
    prefix, params
        Of a Gluon block; the prefix is ``densenet_`` by default.

    Returns
    -------
    HybridBlock
        Maps (N, in_channels, H, W) to logits (N, classes).
    """
    return dense_stages(config, _dense_block, prefix or "densenet_", params)


DENSENET = {
    "densenet28": DenseStagesConfig((6, 6, 6, 5), (2.7, 2.7, 2.2)),
    "densenet37": DenseStagesConfig((6, 8, 12, 6), (3.3, 3.3, 4)),
    "densenet45": DenseStagesConfig((6, 12, 14, 8), (2.7, 3.3, 4)),
    "densenet_flex": DenseStagesConfig(),
}
