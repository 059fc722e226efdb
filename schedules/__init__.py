"""How kernels are scheduled: rules in order, the portable one last."""

from __future__ import annotations

from tvm import tirx

from bnn_tvm.target import Target

from . import arm, cuda, portable, scalar, x86
from .rule import NO_RECORDS, TUNED, Record, Records, Rule, Scheduled, apply_first

__all__ = [
    "NO_RECORDS",
    "RULES",
    "TUNED",
    "Record",
    "Records",
    "Rule",
    "Scheduled",
    "schedule_kernel",
]

RULES: tuple[Rule, ...] = (
    *x86.RULES,
    *arm.RULES,
    *cuda.RULES,
    *scalar.RULES,
    *portable.RULES,
)


def schedule_kernel(
    func: tirx.PrimFunc, target: Target, records: Records = NO_RECORDS
) -> Scheduled:
    """Schedule a kernel by the first rule that fits it and the target, tuned if it has a record."""
    return apply_first(RULES, func, target, records)
