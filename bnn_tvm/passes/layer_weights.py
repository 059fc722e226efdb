"""Lay the weights of a layer out for its kernel, and derive what depends on them alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bnn_tvm.kernels.bits import block_outputs, pack_signs, word_count
from bnn_tvm.kernels.border import Element
from bnn_tvm.kernels.groups import GroupPlan, in_channels, plan_groups, spread_groups
from bnn_tvm.kernels.popcount_sums import Planes

from .levels import Levels, weight_levels


@dataclass(frozen=True)
class Blocking:
    """How a kernel computes outputs side by side.

    Attributes
    ----------
    lanes : int
        Outputs of one vector.
    multiple : int
        Outputs are filled up with zero weights to a multiple of this.
    """

    lanes: int
    multiple: int

    def block(self, weight: np.ndarray) -> np.ndarray:
        """Bring (outputs, ...) into (blocks, ..., lanes)."""
        return block_outputs(weight, self.lanes, self.multiple)

    def as_channels(self, accumulated: Element) -> Element:
        """View (..., blocks, lanes) as (..., outputs)."""
        lanes = self.lanes
        return lambda *index: accumulated(*index[:-1], index[-1] // lanes, index[-1] % lanes)


@dataclass(frozen=True)
class PackedWeight:
    """Weights as bit planes; the dot product is ``(base - slope * M) / divisor``.

    M are the weighted disagreements that the kernel counts (`kernels.bitserial`). For signed data
    of levels a, with ``V`` the largest index: ``a_p`` and ``w_q`` of -1 and +1 have the product
    ``1 - 2 [a_p != w_q]``. For unsigned data ``a_p`` of 0 and 1 it is ``[w_q] - [a_p != w_q]``,
    so that nothing needs to be known of the data's own counts.

    Attributes
    ----------
    words : numpy.ndarray
        (blocks, *kernel, planes * words of a block, lanes).
    mask : numpy.ndarray or None
        (blocks, words of a block, lanes): the bits that an output reads, if not all.
    groups : GroupPlan
        In words.
    planes : Planes
    base : numpy.ndarray
        (1,) or (outputs,) int32.
    slope : int
    divisor : int
    """

    words: np.ndarray
    mask: np.ndarray | None
    groups: GroupPlan
    planes: Planes
    base: np.ndarray
    slope: int
    divisor: int


def pack_weight(
    weight: np.ndarray, data: Levels, groups: int, blocking: Blocking, word_bits: int
) -> PackedWeight:
    """Pack quantized weights.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, *kernel, inputs of a group), of signed levels.
    data : Levels
        Of the activations.
    groups : int
    blocking : Blocking
    word_bits : int
    """
    levels = weight_levels(weight)
    if levels is None:
        raise ValueError("these weights are not quantized")
    inputs = weight.shape[-1] * groups
    plan = plan_groups(weight.shape[0], inputs, groups, blocking.lanes, word_bits)
    if plan.step == 0:
        plan = GroupPlan(0, 1, word_count(inputs, word_bits))
    used = np.ones(weight.shape, np.int64)
    index = levels.index(weight)
    if groups > 1:
        channels = in_channels(plan, word_bits, inputs)
        index, used = (spread_groups(x, groups, channels, blocking.lanes) for x in (index, used))
    digits = [pack_signs((index >> q) & 1, word_bits) for q in range(levels.bits)]
    words = np.concatenate([digit[..., : plan.size] for digit in digits], axis=-1)
    first = (slice(None), *[0] * (used.ndim - 2))
    mask = pack_signs(used[first], word_bits)[..., : plan.size] if not used.all() else None
    return PackedWeight(
        words=blocking.block(words),
        mask=None if mask is None else blocking.block(mask),
        groups=plan,
        planes=Planes(data.bits, levels.bits),
        base=_base(levels.index(weight), data, levels),
        slope=2 if data.signed else 1,
        divisor=data.top * levels.top,
    )


def _base(index: np.ndarray, data: Levels, levels: Levels) -> np.ndarray:
    """Return what the dot product is before disagreements are taken off, times the divisor."""
    outputs, fan_in = index.shape[0], math.prod(index.shape[1:])
    if data.signed:
        return np.array([fan_in * data.top * levels.top], np.int32)
    # The sum over q of 2**q times the ones of plane q is the sum of the indices.
    return (data.top * index.reshape(outputs, -1).sum(axis=1)).astype(np.int32)


def block_float_weight(
    weight: np.ndarray, groups: int, blocking: Blocking
) -> tuple[np.ndarray, GroupPlan]:
    """Lay float weights out: (outputs, *kernel, inputs of a group) to blocks, and their inputs."""
    plan = plan_groups(weight.shape[0], weight.shape[-1] * groups, groups, blocking.lanes)
    spread = weight if groups == 1 else spread_groups(weight, groups, plan, blocking.lanes)
    return blocking.block(spread), plan


def count_limits(limits: np.ndarray, fan_in: int, groups: int) -> np.ndarray:
    """Turn least dot products for +1 into most disagreements, -1 (never) past the last."""
    most = np.floor((fan_in - np.ceil(limits.astype(np.float64))) / 2)
    table = np.full(groups, -1, np.int32)
    table[: limits.size] = np.clip(most, -1, fan_in)
    return table
