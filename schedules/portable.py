"""The rule that fits every kernel on every processor; fast nowhere, right everywhere."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from bnn_tvm.target import Target

from .choices import Choose
from .rule import Rule


def _as_written(func: tirx.PrimFunc, target: Target, choose: Choose) -> Schedule:
    """Run the loops in the order in which the kernel is written."""
    return Schedule(func)


RULES = (Rule("portable.as_written", "portable", _as_written),)
"""Last in every list of rules."""
