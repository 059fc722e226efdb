"""Blocks that several networks share."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import HybridBlock

from ..gluon import nn
from ..gluon.functions import Tensor

_CHANNEL_AXIS = 1


def sequence(*layers: HybridBlock) -> HybridBlock:
    """Return layers in a row that keep the names they have."""
    row = nn.HybridSequential(prefix="")
    row.add(*layers)
    return row


def add_to_slice(
    ops: Any, x: Tensor, update: Tensor, begin: int, width: int, channels: int
) -> Tensor:
    """Add to some channels and keep the others.

    Parameters
    ----------
    ops : module
        ``mx.nd`` or ``mx.sym``.
    x : NDArray or Symbol
        (N, channels, H, W).
    update : NDArray or Symbol
        (N, width, H, W).
    begin, width, channels : int
        First channel that changes, how many change, and how many there are.

    Returns
    -------
    NDArray or Symbol
        (N, channels, H, W).
    """
    if width == channels:
        return update + x

    def part(first: int, last: int) -> Tensor:
        return ops.slice_axis(x, axis=_CHANNEL_AXIS, begin=first, end=last)

    end = begin + width
    before = [part(0, begin)] if begin else []
    after = [part(end, channels)] if end < channels else []
    return ops.concat(*before, part(begin, end) + update, *after, dim=_CHANNEL_AXIS)


class ChannelShuffle(HybridBlock):
    """Interleave groups of channels, so that a grouped convolution sees all (arXiv:1707.01083).

    Parameters
    ----------
    groups : int
        Number of groups; must divide the number of channels of the (N, C, H, W) input.
    **kwargs
        ``prefix`` and ``params``.
    """

    def __init__(self, groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.groups = groups

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Reorder the channels."""
        grouped = F.reshape(x, shape=(0, -4, self.groups, -1, -2))
        return F.reshape(F.swapaxes(grouped, 1, 2), shape=(0, -3, -2))


def normalized_binary_conv(in_channels: int, channels: int, dilation: int) -> HybridBlock:
    """Return BatchNorm followed by a binary 3 x 3 convolution that keeps the image's size."""
    return sequence(
        nn.BatchNorm(in_channels=in_channels),
        nn.activated_conv(
            channels, kernel_size=3, padding=dilation, dilation=dilation, in_channels=in_channels
        ),
    )


class DenseUnit(HybridBlock):
    """Append new binary features to the input (BinaryDenseNet, arXiv:1906.08637).

    Parameters
    ----------
    in_channels, growth : int
        Channels of the input, and channels that are appended.
    dilation : int
        Of the binary convolution.

    Notes
    -----
    (N, in_channels, H, W) becomes (N, in_channels + growth, H, W).
    """

    def __init__(self, in_channels: int, growth: int, dilation: int) -> None:
        super().__init__(prefix="")
        self.body = normalized_binary_conv(in_channels, growth, dilation)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Compute the new features and append them."""
        return F.concat(x, self.body(x), dim=_CHANNEL_AXIS)


class ImprovementUnit(HybridBlock):
    """Add a binary convolution of all channels to the newest ones (MeliusNet, arXiv:2001.05936).

    Parameters
    ----------
    channels, newest : int
        Channels of the input, and how many of them, at the end, are improved.
    dilation : int
        Of the binary convolution.
    """

    def __init__(self, channels: int, newest: int, dilation: int) -> None:
        super().__init__(prefix="")
        self.body = normalized_binary_conv(channels, newest, dilation)
        self._channels, self._newest = channels, newest

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Improve (N, channels, H, W)."""
        begin = self._channels - self._newest
        return add_to_slice(F, x, self.body(x), begin, self._newest, self._channels)
