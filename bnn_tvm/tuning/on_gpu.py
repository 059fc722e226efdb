"""Measure on a GPU: kernels compiled by nvcc here, timed by the GPU's own events."""

from __future__ import annotations

import functools
from typing import Any

from tvm.s_tir import meta_schedule as ms

from ..cuda.nvcc import find_nvcc
from ..errors import DeviceError
from ..gpu import find_gpu
from ..runtime import load_tvm_runtime
from ..target import CudaTarget
from . import workers
from .measuring import BUILD_TIMEOUT, RUN_TIMEOUT, Measure, measure_built, require_packages

# A sample lasts long enough for clocks to rise.
SAMPLE_MILLISECONDS = 50


def measure_on_gpu(target: CudaTarget) -> Measure:
    """Prepare to measure on the first GPU of this machine.

    Raises
    ------
    DeviceError
        If there is none that runs code for the target.
    ToolchainError
        If nvcc, or what tuning needs, is not installed.
    """
    _check_card(target)
    require_packages()
    runner = ms.runner.LocalRunner(
        timeout_sec=RUN_TIMEOUT,
        evaluator_config=ms.runner.EvaluatorConfig(1, 1, SAMPLE_MILLISECONDS),
        initializer=workers.load_gpu,
    )
    return measure_with_nvcc(target, runner)


def measure_with_nvcc(target: CudaTarget, runner: Any) -> Measure:
    """Prepare to compile here, by nvcc, and to measure on a GPU with a runner of MetaSchedule.

    Raises
    ------
    ToolchainError
        If nvcc is not installed.
    """
    find_nvcc()
    return measure_built(target, kernel_builder(target), runner, "cuda")


def _check_card(target: CudaTarget) -> None:
    load_tvm_runtime()
    try:
        find_gpu().check_runs(target.id)
    except DeviceError as exc:
        raise type(exc)(
            f"tuning for {target.id} measures on the card itself: {exc}; "
            "run bnn-tvm tune on the machine that has it, or name that with --rpc or --tracker"
        ) from exc


def kernel_builder(target: CudaTarget) -> ms.builder.LocalBuilder:
    """Make what compiles kernels ahead, in a process of its own; it needs nvcc and no GPU."""
    return ms.builder.LocalBuilder(
        max_workers=1,
        timeout_sec=BUILD_TIMEOUT,
        initializer=workers.register_operators,
        f_build=functools.partial(workers.build_device_kernel, target),
        f_export=workers.exporter(target),
    )
