"""Times one case in this process: checks that results are equal, then measures in turn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from bnn_tvm.benchmark.environment import describe_environment
from bnn_tvm.benchmark.measure import Plan, measure_in_turn
from bnn_tvm.device import LocalDevice

from .cases import Case
from .contenders import Contender, open_entry
from .peaks import open_gauges
from .results import CaseResult


def time_case(case: Case, folder: Path, plan: Plan) -> CaseResult:
    """Time the entries of a case and the machine's peaks in the same rounds.

    Parameters
    ----------
    case : Case
    folder : path
        Where `prepare` wrote.
    plan : Plan
    """
    contenders = {e.label: open_entry(folder, e, case.threads) for e in case.entries}
    differences = _compare(case, contenders)
    gauges = open_gauges(case.peaks)
    calls = {label: contender.run for label, contender in contenders.items()}
    _stay_on_cores()
    timings = measure_in_turn(calls | {peak: g.call for peak, g in gauges.items()}, plan)
    return CaseResult(
        case=case,
        environment=describe_environment(LocalDevice.detect(), case.threads),
        seconds={label: timings[label].samples for label in calls},
        rates={p: tuple(g.work / s for s in timings[p].samples) for p, g in gauges.items()},
        differences=differences,
    )


def _compare(case: Case, contenders: dict[str, Contender]) -> dict[str, float]:
    """Compare each output with that of the first entry of its model."""
    outputs = {label: contender.output() for label, contender in contenders.items()}
    first = {entry.model: outputs[entry.label] for entry in reversed(case.entries)}
    return {
        entry.label: _difference(outputs[entry.label], first[entry.model]) for entry in case.entries
    }


def _difference(output: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def _stay_on_cores() -> None:
    """Put the threads that engines have started on this process's cores."""
    cores = os.sched_getaffinity(0)
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)
