"""What there is to tune in a model: its distinct kernels whose rules leave something open."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tvm import tirx
from tvm.ir import IRModule

from ..kernels.signature import kernel_signature
from ..kernels.stages import KERNEL
from ..package.manifest import KernelInfo
from ..passes.dataflow import count_calls
from ..schedules import RULES
from ..schedules.choices import Option
from ..schedules.rule import Rule, find_rule
from ..target import Target


@dataclass(frozen=True)
class Task:
    """A kernel to tune; kernels of equal signature are one task.

    Attributes
    ----------
    signature : str
    func : PrimFunc
        Not scheduled.
    rule : Rule
        The one that schedules it.
    uses : int
        How often one inference calls it.
    macs : int
        Multiply-accumulates of one call.
    binary : bool
        Whether these are bit operations.
    label : str
        For people: its kind and the shape of its first output.
    """

    signature: str
    func: tirx.PrimFunc
    rule: Rule
    uses: int
    macs: int
    binary: bool
    label: str


def find_tasks(lowered: IRModule, kernels: Iterable[KernelInfo], target: Target) -> list[Task]:
    """List what can be tuned, in order of first use.

    Parameters
    ----------
    lowered : IRModule
        With kernels that are not scheduled.
    kernels : iterable of KernelInfo
        What the manifest says about them.
    target : Target
    """
    infos = {info.name: info for info in kernels}
    tasks: dict[str, Task] = {}
    for name, uses in count_calls(lowered).items():
        func = lowered[name]
        if KERNEL not in func.attrs:
            continue
        signature = kernel_signature(func)
        if signature in tasks:
            uses += tasks[signature].uses
        rule, is_open = _ask(func, target)
        if is_open:
            info = infos[name]
            label = _label(info)
            tasks[signature] = Task(signature, func, rule, uses, info.macs, info.binary, label)
    return list(tasks.values())


def _ask(func: tirx.PrimFunc, target: Target) -> tuple[Rule, bool]:
    """Find the rule of a kernel, and whether it leaves anything open."""
    counts = [1]

    def choose(name: str, options: Sequence[Option]) -> Option:
        counts.append(len(options))
        return options[0]

    rule, _ = find_rule(RULES, func, target)
    rule.apply(func, target, choose)
    return rule, max(counts) > 1


def _label(info: KernelInfo) -> str:
    output = info.arguments[-info.num_outputs]
    return f"{info.kind} to {'x'.join(map(str, output.shape))}"
