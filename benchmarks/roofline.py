"""How fast a network could be: the largest of what each layer needs at the machine's peaks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .kernel_times import KernelTime


@dataclass(frozen=True)
class Roof:
    """The machine's peaks.

    Attributes
    ----------
    binary, fma : float
        Operations a second on bits and on float32, two for each multiply-accumulate.
    bytes_per_second : float
        Loads from the L2 cache.
    int8 : float
        Operations a second on bytes; 0 if they were not measured.
    """

    binary: float
    fma: float
    bytes_per_second: float
    int8: float = 0.0

    def bound(self, kernel: KernelTime) -> float:
        """Seconds that one call of a kernel needs at least."""
        return max(2 * kernel.macs / self._peak(kernel), kernel.nbytes / self.bytes_per_second)

    def _peak(self, kernel: KernelTime) -> float:
        if kernel.kind.endswith("_int8"):
            return self.int8
        return self.binary if kernel.binary else self.fma

    def network_bound(self, kernels: Iterable[KernelTime]) -> float:
        """Seconds that all convolutions and dense layers of a network need at least.

        Kernels without multiply-accumulates count as nothing: they could be fused away.
        """
        return sum(kernel.uses * self.bound(kernel) for kernel in kernels if kernel.macs)


def share_outside_convolutions(kernels: Iterable[KernelTime]) -> float:
    """Find the share of the kernels' time that neither binary nor float convolutions take."""
    times = [(kernel.total, "conv" in kernel.kind) for kernel in kernels]
    return sum(time for time, inside in times if not inside) / sum(time for time, _ in times)
