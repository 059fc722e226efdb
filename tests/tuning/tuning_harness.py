"""A small network to tune, and a measurement that only looks like one."""

from __future__ import annotations

from collections.abc import Sequence

import tvm_ffi
from relax_harness import lower, module, random_floats, random_signs
from tvm.s_tir import Schedule

from bnn_tvm.package.manifest import KernelInfo, TensorInfo
from bnn_tvm.target import get_target
from bnn_tvm.tuning.environment import TuningEnvironment
from bnn_tvm.tuning.measuring import Outcome
from bnn_tvm.tuning.tasks import Task, find_tasks

TARGET = get_target("x86-64-vpopcntdq")
SHAPE = (1, 64, 6, 6)
HERE = TuningEnvironment(TARGET.id, "a machine", {"bnn_tvm": "1", "tvm": "2", "llvm": "3"})


def network(g, x):
    """Two equal layers, so that one kernel is used twice, and another with a float output."""
    y = g.sign(x)
    for seed in range(2):
        dot = g.conv(g.pad(y, 1, -1.0), random_signs(seed, 64, 64, 3, 3))
        y = g.sign(g.affine(dot, random_floats(seed, 64), random_floats(seed + 9, 64)))
    return g.conv(y, random_signs(3, 64, 64, 1, 1))


def lowered():
    return lower(module(network, SHAPE), TARGET.id)


def kernel_infos(mod) -> list[KernelInfo]:
    output = TensorInfo("result", (1, 6, 6, 64), "float32", "")
    return [
        KernelInfo(gvar.name_hint, gvar.name_hint, (), (output,), 1, 1000, True, "", "hand", "")
        for gvar in mod.functions
    ]


def small_tasks() -> list[Task]:
    mod = lowered()
    return find_tasks(mod, kernel_infos(mod), TARGET)


class FakeMeasure:
    """Gives each schedule a time that depends on its code alone, and counts what it was given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, schedules: Sequence[Schedule], samples: int) -> list[Outcome]:
        outcomes = []
        for schedule in schedules:
            code = tvm_ffi.structural_hash(schedule.mod)
            self.seen.append(code)
            outcomes.append(Outcome((seconds_of(code),) * samples))
        return outcomes


def seconds_of(code: int) -> float:
    return (1 + abs(code) % 9973) * 1e-8


def show_nothing(*status: object) -> None:
    """Leave progress unseen."""
