"""The time of each kernel of a package."""

from __future__ import annotations

from dataclasses import dataclass

from bnn_tvm.benchmark.layers import time_kernels
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.runtime import Session


@dataclass(frozen=True)
class KernelTime:
    """One kernel of a package, timed alone on warm data.

    Attributes
    ----------
    name, kind : str
        As in the manifest.
    layers : tuple of str
        The model's layers that it computes.
    macs : int
        Multiply-accumulates of one call.
    binary : bool
        Whether these are bit operations.
    nbytes : int
        Of all arguments, weights and outputs included.
    uses : int
        Calls in one run of the package.
    seconds : float
        Median of one call.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    macs: int
    binary: bool
    nbytes: int
    uses: int
    seconds: float

    @property
    def total(self) -> float:
        """Seconds of all its calls in one run."""
        return self.uses * self.seconds


def kernel_times(session: Session, plan: Plan) -> tuple[KernelTime, ...]:
    """Time each kernel of a package alone."""
    reports = time_kernels(session, {}, plan)
    return tuple(
        KernelTime(
            name=report.kernel,
            kind=report.kind,
            layers=report.layers,
            macs=report.macs,
            binary=report.binary,
            nbytes=sum(a.nbytes for a in session.manifest.kernel(report.kernel).arguments),
            uses=report.calls,
            seconds=report.seconds.median,
        )
        for report in reports
    )
