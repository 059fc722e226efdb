"""Times one case in this process: checks that results are equal, then measures in turn."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

import numpy as np

from bnn_tvm.benchmark.environment import describe_environment
from bnn_tvm.benchmark.measure import Plan, measure_in_turn
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import ModelError

from .cases import F32, OPENVINO, OURS, WHOLE, Case
from .contenders import Contender, open_entry
from .kernel_times import KernelTime, kernel_times
from .peaks import open_gauges
from .results import CaseResult

TOLERANCE = 1e-3
_INPUTS = 8


def time_case(case: Case, folder: Path, plan: Plan) -> CaseResult:
    """Time the entries of a case and the machine's peaks in the same rounds.

    Parameters
    ----------
    case : Case
    folder : path
        Where `prepare` wrote.
    plan : Plan

    Raises
    ------
    ModelError
        If two engines that run the same float32 graph disagree on every input that is tried.
    """
    contenders = {entry.label: open_entry(folder, entry) for entry in case.entries}
    seed, differences = agreeing_input(case, contenders)
    calls = {label: c.bind(draw_input(c.shape, seed)) for label, c in contenders.items()}
    gauges = open_gauges(case.peaks)
    _stay_on_cores()
    timings = measure_in_turn(calls | {peak: g.call for peak, g in gauges.items()}, plan)
    return CaseResult(
        case=case,
        environment=describe_environment(LocalDevice.detect(), case.threads),
        seconds={label: timings[label].samples for label in calls},
        rates={p: tuple(g.work / s for s in timings[p].samples) for p, g in gauges.items()},
        differences=differences,
        tried_inputs=seed + 1,
        kernels=_time_kernels(case, contenders, plan),
    )


def draw_input(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Draw an input: the same numbers for the same seed."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def agreeing_input(case: Case, contenders: dict[str, Contender]) -> tuple[int, dict[str, float]]:
    """Find an input for which entries of the same model agree.

    Engines round differently. A value within rounding of 0 then has another sign, which a deep
    binary network turns into quite other outputs; about half of all images have such a value.
    """
    must_agree = {e.label for e in case.entries if e.precision == F32 and e.engine in _COMPARED}
    for seed in range(_INPUTS):
        differences = _differences(case, contenders, seed)
        if all(differences.get(label, 0.0) <= TOLERANCE for label in must_agree):
            return seed, differences
    raise ModelError(
        f"the engines of {case.name!r} disagree by {max(differences.values()):.2g} of the largest "
        f"output on each of {_INPUTS} inputs; they do not run the same graph"
    )


_COMPARED = (OURS, OPENVINO)


def _differences(case: Case, contenders: dict[str, Contender], seed: int) -> dict[str, float]:
    """Compare outputs with that of the first entry of the same model, where there are several."""
    models = Counter(entry.model for entry in case.entries)
    compared = [e for e in case.entries if models[e.model] > 1 and e.layer == WHOLE]
    outputs = {}
    for entry in compared:
        contender = contenders[entry.label]
        outputs[entry.label] = contender.output(draw_input(contender.shape, seed))
    first = {entry.model: outputs[entry.label] for entry in reversed(compared)}
    return {e.label: _difference(outputs[e.label], first[e.model]) for e in compared}


def _difference(output: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(output - expected).max() / np.abs(expected).max())


def _stay_on_cores() -> None:
    """Put the threads that engines have started on this process's cores."""
    cores = os.sched_getaffinity(0)
    for thread in Path("/proc/self/task").iterdir():
        # A thread may end while the others are moved.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


def _time_kernels(
    case: Case, contenders: dict[str, Contender], plan: Plan
) -> tuple[KernelTime, ...]:
    if not case.kernels:
        return ()
    session = contenders[case.kernels].session
    assert session is not None
    return kernel_times(session, plan)
