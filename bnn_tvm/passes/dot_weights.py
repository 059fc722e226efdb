"""Lay the weights of a layer out for kernels that multiply in groups."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from bnn_tvm.kernels.dot import BF16, DotType, RowPlan, plan_planes, plan_rows
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.groups import GroupPlan, plan_groups, spread_groups

from .layer_weights import Blocking


def block_conv_weight(
    weight: np.ndarray, window: Window, groups: int, blocking: Blocking, dot: DotType
) -> tuple[np.ndarray, GroupPlan]:
    """Lay the weights of a convolution out.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, *kernel, inputs of a group), int8, bfloat16, float16 or float32.
    window : Window
    groups : int
    blocking : Blocking
    dot : DotType

    Returns
    -------
    numpy.ndarray
        (blocks, *steps, chunks, lanes, group) of ``dot.weight``.
    GroupPlan
        Which inputs each block reads.
    """
    channels = weight.shape[-1] * groups
    plan = plan_groups(weight.shape[0], channels, groups, blocking.lanes)
    spread = weight if groups == 1 else spread_groups(weight, groups, plan, blocking.lanes)
    rows = plan_rows(window, channels, plan, dot.group)
    return _in_groups(spread, rows, blocking, dot), plan


def block_plane_weight(
    weight: np.ndarray, window: Window, blocking: Blocking, dot: DotType
) -> np.ndarray:
    """Lay (outputs, *kernel, inputs) out for data in planes: inputs are the first step."""
    plan = plan_planes(window, weight.shape[-1], dot.group)
    assert plan is not None
    return _in_groups(np.ascontiguousarray(np.moveaxis(weight, -1, 1)), plan, blocking, dot)


def block_dense_weight(weight: np.ndarray, blocking: Blocking, dot: DotType) -> np.ndarray:
    """Lay (outputs, inputs) out as (blocks, chunks, lanes, group) of ``dot.weight``."""
    return _in_groups(weight, RowPlan((), weight.shape[1], dot.group), blocking, dot)


def _in_groups(weight: np.ndarray, rows: RowPlan, blocking: Blocking, dot: DotType) -> np.ndarray:
    runs = weight.view(dot.weight).reshape(weight.shape[0], *rows.steps, rows.run)
    filled = np.zeros((*runs.shape[:-1], rows.chunks * rows.group), runs.dtype)
    filled[..., : rows.run] = runs
    grouped = filled.reshape(*runs.shape[:-1], rows.chunks, rows.group)
    return np.ascontiguousarray(blocking.block(grouped).swapaxes(-1, -2))


def stored_weight(weight: np.ndarray) -> np.ndarray:
    """View numbers as kernels store them: bfloat16 as its bits."""
    return weight.view(np.uint16) if weight.dtype == ml_dtypes.bfloat16 else weight


def stored_border(value: float, form: DotType) -> float:
    """Write a number as a layer stores its data."""
    if form is not BF16:
        return np.dtype(form.data).type(value).item()
    return int(np.array(value, ml_dtypes.bfloat16).view(form.data))
