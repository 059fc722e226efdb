"""Results of cases, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.cases import Case
from benchmarks.kernel_times import KernelTime
from benchmarks.results import CaseResult
from bnn_tvm.benchmark.environment import Environment

ENVIRONMENT = Environment("a CPU", "x86_64", 1, 1, "Linux", {"tvm": "0"})


def result_of(
    case: Case,
    seconds: Mapping[str, Sequence[float]],
    rates: Mapping[str, Sequence[float]] | None = None,
    kernels: Sequence[KernelTime] = (),
) -> CaseResult:
    """Make a result; every entry of the case agrees to 1e-7."""
    return CaseResult(
        case=case,
        environment=ENVIRONMENT,
        seconds={label: tuple(samples) for label, samples in seconds.items()},
        rates={peak: tuple(samples) for peak, samples in (rates or {}).items()},
        differences=dict.fromkeys(seconds, 1e-7),
        tried_inputs=1,
        kernels=tuple(kernels),
    )


def kernel(name: str, *, macs: int = 0, binary: bool = False, nbytes: int = 0, uses: int = 1,
           seconds: float = 1e-3, kind: str = "conv2d") -> KernelTime:  # fmt: skip
    return KernelTime(name, kind, (), macs, binary, nbytes, uses, seconds)
