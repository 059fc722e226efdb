"""Layers as products of matrices, for GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx

from bnn_tvm.kernels.border import Element
from bnn_tvm.kernels.gemm import (
    AND,
    PRODUCT,
    SUMS_KIB,
    GemmPlan,
    Windows,
    conv_windows,
    count_disagreements,
    count_ones,
    dense_windows,
    lay_out,
    multiply,
    plan_gemm,
)
from bnn_tvm.kernels.geometry import Extents, Window
from bnn_tvm.kernels.integers import Integers
from bnn_tvm.kernels.stages import WEIGHT
from bnn_tvm.target import CudaTarget, Gpu, Target

from .layer_weights import PackedWeight


@dataclass(frozen=True)
class NumberWeight:
    """Filters of numbers, and how they are multiplied.

    Attributes
    ----------
    blocked : numpy.ndarray
        (output blocks, ..., lanes), float32 or float16.
    form : str
        As `kernels.gemm.multiply` takes it.
    """

    blocked: np.ndarray
    form: str = PRODUCT

    @property
    def dtype(self) -> str:
        """Dtype of data and filters."""
        return str(self.blocked.dtype)

    @property
    def per_word(self) -> int:
        """Numbers of 32 bits."""
        return 4 // self.blocked.itemsize


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

    def count(self, windows: Windows, packed: PackedWeight) -> Integers:
        """Count the disagreements of windows of words with filters.

        Returns
        -------
        Integers
            Elements of (*rows of the windows, outputs).
        """
        plan = self._plan(windows, packed.words, packed.planes.weight)
        weight = self.constant(lay_out(packed.words, plan), WEIGHT)
        is_and = self.gpu.b1_mma == AND
        ones = self.constant(count_ones(packed.words, packed.planes)) if is_and else None
        return count_disagreements(windows, weight, plan, ones)

    def convolve(
        self, data: Element, shape: Extents, window: Window, pad_value: float, weight: NumberWeight
    ) -> Element:
        """Convolve (N, *extents, C) with filters.

        Parameters
        ----------
        data : callable
            Gives the number at an index.
        shape : tuple of int
        window : Window
        pad_value : float
        weight : NumberWeight

        Returns
        -------
        callable
            Gives elements of (N, *positions, outputs) float32.
        """
        border = tirx.const(pad_value, weight.dtype)
        windows = conv_windows(data, shape, window, lambda _: border, per_word=weight.per_word)
        return self._multiply(windows, weight)

    def multiply_rows(self, data: Element, shape: Extents, weight: NumberWeight) -> Element:
        """Multiply the rows of (N, inputs) by filters: (N, outputs) float32."""
        return self._multiply(dense_windows(data, shape, per_word=weight.per_word), weight)

    def _multiply(self, windows: Windows, weight: NumberWeight) -> Element:
        plan = self._plan(windows, weight.blocked)
        laid = self.constant(lay_out(weight.blocked, plan), WEIGHT)
        return multiply(windows, laid, plan, weight.form)

    def _plan(self, windows: Windows, blocked: np.ndarray, planes: int = 1) -> GemmPlan:
        columns = blocked.shape[0] * blocked.shape[-1]
        return plan_gemm(windows, columns, self.gpu.multiprocessors, planes)


def find_gemm_layers(target: Target, constant: Callable[..., te.Tensor]) -> GemmLayers | None:
    """Make what multiplies matrices, where the target is a GPU."""
    return GemmLayers(target.gpu, constant) if isinstance(target, CudaTarget) else None
