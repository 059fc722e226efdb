"""Layers as products of matrices, for GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import te

from bnn_tvm.kernels.border import Element
from bnn_tvm.kernels.gemm import (
    AND,
    PRODUCT,
    SUMS_KIB,
    GemmPlan,
    Windows,
    count_disagreements,
    count_ones,
    lay_out,
    multiply,
    plan_gemm,
)
from bnn_tvm.kernels.popcount_sums import Count
from bnn_tvm.kernels.stages import WEIGHT
from bnn_tvm.target import CudaTarget, Gpu, Target

from .layer_weights import PackedWeight


@dataclass(frozen=True)
class GemmLayers:
    """Makes products of matrices, with their operands.

    Attributes
    ----------
    gpu : Gpu
        Says in which form its tensor cores count bits.
    constant : callable
        Makes an operand of an array, with a name.
    """

    gpu: Gpu
    constant: Callable[..., te.Tensor]

    def fits(self, packed: PackedWeight) -> bool:
        """Tell whether each output reads all bits, and the sums of all planes have room."""
        pairs = packed.planes.data * packed.planes.weight
        has_room = pairs * SUMS_KIB < self.gpu.block_shared_kib
        return packed.mask is None and packed.groups.step == 0 and has_room

    def count(self, windows: Windows, packed: PackedWeight) -> Count:
        """Count the disagreements of windows of words with filters.

        Returns
        -------
        callable
            Gives elements of (*rows of the windows, outputs) int32.
        """
        plan = self._plan(windows, packed.words, packed.planes.weight)
        weight = self.constant(lay_out(packed.words, plan), WEIGHT)
        is_and = self.gpu.b1_mma == AND
        ones = self.constant(count_ones(packed.words, packed.planes)) if is_and else None
        return count_disagreements(windows, weight, plan, ones)

    def multiply(self, windows: Windows, blocked: np.ndarray) -> Element:
        """Multiply windows of numbers by filters of (output blocks, ..., lanes) float32.

        Returns
        -------
        callable
            Gives elements of (*rows of the windows, outputs) float32.
        """
        plan = self._plan(windows, blocked)
        return multiply(windows, self.constant(lay_out(blocked, plan), WEIGHT), plan, PRODUCT)

    def _plan(self, windows: Windows, blocked: np.ndarray, planes: int = 1) -> GemmPlan:
        columns = blocked.shape[0] * blocked.shape[-1]
        return plan_gemm(windows, columns, self.gpu.multiprocessors, planes)


def find_gemm_layers(target: Target, constant: Callable[..., te.Tensor]) -> GemmLayers | None:
    """Make what multiplies matrices, where the target is a GPU."""
    return GemmLayers(target.gpu, constant) if isinstance(target, CudaTarget) else None
