"""Which input channels a block of output channels reads, in a convolution of several groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import tirx
from tvm.ir import Expr


@dataclass(frozen=True)
class GroupPlan:
    """Input channels (or words of them) that each block of outputs reads.

    Attributes
    ----------
    step : int
        From the first channel of one run of blocks to that of the next.
    blocks_per_step : int
        Blocks in a run: those that read the same channels.
    size : int
        Channels that a block reads.
    runs : int
        How many runs there are. Blocks past the last one, which fill outputs up, read with it.
    """

    step: int
    blocks_per_step: int
    size: int
    runs: int = 1

    def first(self, block: Expr, blocks: int) -> Expr:
        """Return the first channel that a block, of so many, reads."""
        if self.step == 0:
            return 0
        run = block // self.blocks_per_step
        filled = blocks > self.runs * self.blocks_per_step
        return self.step * (tirx.min(run, self.runs - 1) if filled else run)


def plan_groups(outputs: int, inputs: int, groups: int, lanes: int, unit: int = 1) -> GroupPlan:
    """Find the channels that blocks of outputs read, whole units of them.

    Parameters
    ----------
    outputs, inputs : int
        Channels in all.
    groups : int
    lanes : int
        Outputs of one block.
    unit : int
        Channels of an element of the data: 1 for numbers, the bits of a word for signs.

    Returns
    -------
    GroupPlan
        In units. Blocks read all channels where their groups do not begin at whole units, or
        where blocks and groups do not divide each other.
    """
    everything = GroupPlan(0, 1, -(-inputs // unit))
    outputs_per_group, inputs_per_group = outputs // groups, inputs // groups
    groups_per_block = max(lanes // outputs_per_group, 1)
    blocks_per_group = max(outputs_per_group // lanes, 1)
    nested = max(lanes, outputs_per_group) % min(lanes, outputs_per_group) == 0
    run = groups_per_block * inputs_per_group
    if groups == 1 or not nested or run % unit or groups % groups_per_block:
        return everything
    return GroupPlan(run // unit, blocks_per_group, run // unit, groups // groups_per_block)


def spread_groups(weight: np.ndarray, groups: int, plan: GroupPlan, lanes: int) -> np.ndarray:
    """Fill each output's weights with zeros for the other channels that its block reads.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, ..., inputs of a group).
    groups : int
    plan : GroupPlan
        In channels.
    lanes : int

    Returns
    -------
    numpy.ndarray
        (outputs, ..., channels that a block reads).
    """
    outputs, inputs_per_group = weight.shape[0], weight.shape[-1]
    spread = np.zeros((*weight.shape[:-1], plan.size), weight.dtype)
    for output in range(outputs):
        group = output // (outputs // groups)
        first = output // lanes // plan.blocks_per_step * plan.step
        start = group * inputs_per_group - first
        spread[output, ..., start : start + inputs_per_group] = weight[output]
    return spread


def in_channels(plan: GroupPlan, unit: int, inputs: int) -> GroupPlan:
    """Count a plan that is in units of channels in channels."""
    size = inputs if plan.step == 0 else plan.size * unit
    return GroupPlan(plan.step * unit, plan.blocks_per_step, math.ceil(size), plan.runs)
