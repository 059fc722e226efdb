"""The contract of schedule rules, and how one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from tvm import tirx
from tvm.s_tir import Schedule

from bnn_tvm.errors import InternalError, TuneLogError
from bnn_tvm.kernels.signature import kernel_signature
from bnn_tvm.kernels.stages import KERNEL, WEIGHT
from bnn_tvm.target import Target

from .choices import Choices, Choose, by_hand, follow

Apply = Callable[[tirx.PrimFunc, Target, Choose], Schedule | None]

TUNED = "tuned"
"""Source of a schedule whose choices were measured."""


@dataclass(frozen=True)
class Rule:
    """One way to schedule some kernels.

    Attributes
    ----------
    name : str
        Shown to the user, such as ``x86.register_tile``.
    source : str
        ``hand`` for a rule made for a processor, ``portable`` for one that fits all.
    apply : callable
        Gets the function, the target and who decides what the rule leaves open; returns None if
        the rule does not fit.
    """

    name: str
    source: str
    apply: Apply


@dataclass(frozen=True)
class Record:
    """What tuning found best for a kernel.

    Attributes
    ----------
    rule : str
        Name of the rule whose choices these are.
    choices : mapping of str to str
    """

    rule: str
    choices: Choices


Records = Mapping[str, Record]
"""Records by the signature of the kernel that they were measured with."""

NO_RECORDS: Records = MappingProxyType({})


@dataclass(frozen=True)
class Scheduled:
    """A scheduled function.

    Attributes
    ----------
    func : PrimFunc
    rule : str
        Name of the rule that scheduled it.
    source : str
        `TUNED`, or that of the rule.
    note : str
        What was chosen if it is tuned, why not if there is a record that does not fit, else
        nothing.
    """

    func: tirx.PrimFunc
    rule: str
    source: str
    note: str = ""


def kernel_kind(func: tirx.PrimFunc) -> str:
    """Name the kind of kernel; '' for a function that is not ours."""
    return str(func.attrs[KERNEL]) if KERNEL in func.attrs else ""


def is_layer(func: tirx.PrimFunc) -> bool:
    """Tell whether a kernel computes a convolution or dense layer: it has weights."""
    return any(param.name == WEIGHT for param in func.params)


def apply_first(
    rules: Sequence[Rule], func: tirx.PrimFunc, target: Target, records: Records = NO_RECORDS
) -> Scheduled:
    """Schedule a function by the first rule that fits, as its record says if it has one.

    Raises
    ------
    InternalError
        If no rule fits; the last one must always.
    """
    rule, schedule = find_rule(rules, func, target)
    record = records.get(kernel_signature(func)) if kernel_kind(func) else None
    if record is None:
        return Scheduled(_function_of(schedule, func), rule.name, rule.source)
    try:
        schedule = _apply_record(rule, func, target, record)
    except TuneLogError as exc:
        note = f"its tuning record does not fit: {exc}"
        return Scheduled(_function_of(schedule, func), rule.name, rule.source, note)
    note = ", ".join(f"{name} {option}" for name, option in record.choices.items())
    return Scheduled(_function_of(schedule, func), rule.name, TUNED, note)


def find_rule(rules: Sequence[Rule], func: tirx.PrimFunc, target: Target) -> tuple[Rule, Schedule]:
    """Find the first rule that fits; return it with the schedule that it gives by hand."""
    for rule in rules:
        schedule = rule.apply(func, target, by_hand)
        if schedule is not None:
            return rule, schedule
    raise InternalError(f"no schedule rule fits a kernel of kind {kernel_kind(func)!r}")


def _apply_record(rule: Rule, func: tirx.PrimFunc, target: Target, record: Record) -> Schedule:
    if record.rule != rule.name:
        raise TuneLogError(f"it is of the rule {record.rule}; tune it again")
    return follow(lambda choose: rule.apply(func, target, choose), record.choices)


def _function_of(schedule: Schedule, func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Take the scheduled function, with the attributes of the one it was made of."""
    (scheduled,) = schedule.mod.functions.values()
    return scheduled.with_attrs(dict(func.attrs.items()))
