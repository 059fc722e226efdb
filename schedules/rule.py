"""The contract of schedule rules, and how one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.s_tir import Schedule

from bnn_tvm.errors import InternalError
from bnn_tvm.kernels.stages import KERNEL, WEIGHT
from bnn_tvm.target import Target

Apply = Callable[[tirx.PrimFunc, Target, bool], Schedule | list[Schedule] | None]


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
        Gets the function, the target and whether the schedule is a search space; returns None
        if the rule does not fit, else a schedule or several.
    """

    name: str
    source: str
    apply: Apply


@dataclass(frozen=True)
class Scheduled:
    """A scheduled function and the rule that did it."""

    func: tirx.PrimFunc
    rule: Rule


def kernel_kind(func: tirx.PrimFunc) -> str:
    """Name the kind of kernel; '' for a function that is not ours."""
    return str(func.attrs[KERNEL]) if KERNEL in func.attrs else ""


def is_layer(func: tirx.PrimFunc) -> bool:
    """Tell whether a kernel computes a convolution or dense layer: it has weights."""
    return any(param.name == WEIGHT for param in func.params)


def apply_first(rules: Sequence[Rule], func: tirx.PrimFunc, target: Target) -> Scheduled:
    """Schedule a function by the first rule that fits.

    Raises
    ------
    InternalError
        If none does; the last rule must always fit.
    """
    for rule in rules:
        result = rule.apply(func, target, False)
        if result is not None:
            schedule = result[0] if isinstance(result, list) else result
            (scheduled,) = schedule.mod.functions.values()
            return Scheduled(scheduled.with_attrs(dict(func.attrs.items())), rule)
    raise InternalError(f"no schedule rule fits a kernel of kind {kernel_kind(func)!r}")
