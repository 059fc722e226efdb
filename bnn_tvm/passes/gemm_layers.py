"""Layers on bits as products of bit matrices, for GPUs."""

from __future__ import annotations

from collections.abc import Callable

from tvm import te

from bnn_tvm.kernels.bit_gemm import Windows, bit_gemm, count_ones, lay_out, plan_gemm
from bnn_tvm.kernels.popcount_sums import Count, Planes
from bnn_tvm.kernels.stages import WEIGHT
from bnn_tvm.target import Gpu

from .layer_weights import PackedWeight

AND = "and"


def fits_gemm(packed: PackedWeight) -> bool:
    """Tell whether a layer multiplies all bits of one plane with all of another."""
    return packed.planes == Planes() and packed.mask is None and packed.groups.step == 0


def count_by_gemm(
    windows: Windows, packed: PackedWeight, gpu: Gpu, constant: Callable[..., te.Tensor]
) -> Count:
    """Count the disagreements of windows with filters.

    Parameters
    ----------
    windows : Windows
    packed : PackedWeight
    gpu : Gpu
        Says in which form its tensor cores count.
    constant : callable
        Makes an operand of an array, with a name.

    Returns
    -------
    callable
        Gives elements of (*rows of the windows, outputs) int32.
    """
    plan = plan_gemm(windows, packed.words.shape[0] * packed.words.shape[-1], gpu.multiprocessors)
    weight = constant(lay_out(packed.words, plan), WEIGHT)
    ones = constant(count_ones(packed.words)) if gpu.b1_mma == AND else None
    return bit_gemm(windows, weight, plan, ones)
