"""Build and time schedules with MetaSchedule's builder and runner, in processes of their own."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from ..device import LocalDevice
from ..errors import ToolchainError
from ..target import Target
from . import workers

# A schedule that takes longer to compile or to run than this is not worth waiting for, seconds.
BUILD_TIMEOUT, RUN_TIMEOUT = 60.0, 30.0
# Milliseconds that one sample lasts at least.
SAMPLE_MILLISECONDS = 10


@dataclass(frozen=True)
class Outcome:
    """What became of one schedule.

    Attributes
    ----------
    seconds : tuple of float
        Samples of one call; none if it failed.
    error : str
        Why; else empty.
    """

    seconds: tuple[float, ...]
    error: str = ""


Measure = Callable[[Sequence[Schedule], int], list[Outcome]]
"""Takes schedules of one kernel and the number of samples of each."""


def measure_locally(target: Target) -> Measure:
    """Prepare to measure on this machine, on one thread.

    Raises
    ------
    DeviceError
        If this machine cannot run code for the target.
    ToolchainError
        If there is no compiler to link with, or what tuning needs is not installed.
    """
    LocalDevice.detect().check_runs(target.info())
    require_packages()
    runner = ms.runner.LocalRunner(
        timeout_sec=RUN_TIMEOUT,
        evaluator_config=ms.runner.EvaluatorConfig(1, 1, SAMPLE_MILLISECONDS),
        initializer=workers.use_one_thread,
    )
    return measure_with(target, runner)


def require_packages() -> None:
    """Refuse to start without the packages that MetaSchedule imports late.

    Raises
    ------
    ToolchainError
        If one of them is missing.
    """
    for name in ("xgboost", "psutil", "cloudpickle", "tornado"):
        if importlib.util.find_spec(name) is None:
            raise ToolchainError(
                f"tuning needs {name}, which is not installed; pip install 'bnn_tvm[tune]'"
            )


def measure_with(target: Target, runner: Any) -> Measure:
    """Prepare to build here and to measure with a runner of MetaSchedule."""
    builder = ms.builder.LocalBuilder(
        max_workers=1,
        timeout_sec=BUILD_TIMEOUT,
        initializer=workers.register_operators,
        f_build=workers.build_kernel,
        f_export=workers.exporter(target),
    )
    return measure_built(target, builder, runner, "cpu")


def measure_built(target: Target, builder: Any, runner: Any, device: str) -> Measure:
    """Prepare to measure with a builder and a runner of MetaSchedule on a kind of device."""
    compile_for = target.to_tvm()

    def measure(schedules: Sequence[Schedule], samples: int) -> list[Outcome]:
        inputs = [ms.builder.BuilderInput(sch.mod, compile_for) for sch in schedules]
        built = builder.build(inputs)
        try:
            arguments = ms.arg_info.ArgInfo.from_entry_func(schedules[0].mod)
            return _run_in_turn(runner, built, arguments, samples, device)
        finally:
            for result in built:
                if result.artifact_path is not None:
                    shutil.rmtree(Path(str(result.artifact_path)).parent, ignore_errors=True)

    return measure


def _run_in_turn(
    runner: Any, built: Sequence[Any], arguments: Any, samples: int, device: str
) -> list[Outcome]:
    """Take a sample of each library, then the next of each: what disturbs one disturbs all."""
    seconds: list[list[float]] = [[] for _ in built]
    errors = [_first_line(result.error_msg) for result in built]
    for _ in range(samples):
        alive = [place for place, error in enumerate(errors) if not error]
        inputs = [
            ms.runner.RunnerInput(built[place].artifact_path, device, arguments) for place in alive
        ]
        for place, future in zip(alive, runner.run(inputs), strict=True):
            result = future.result()
            errors[place] = _first_line(result.error_msg)
            seconds[place] += [float(time) for time in result.run_secs or []]
    return [
        Outcome((), error) if error else Outcome(tuple(times))
        for times, error in zip(seconds, errors, strict=True)
    ]


def _first_line(message: Any) -> str:
    """Shorten MetaSchedule's message: its last line names the error below a traceback."""
    lines = str(message or "").strip().splitlines()
    return lines[-1] if lines else ""
