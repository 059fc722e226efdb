"""Convolutions and dense layers in lower precision, in numpy, and how to compile and run them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import ml_dtypes
import numpy as np
import pytest
from relax_harness import run
from tvm.ir import IRModule

from bnn_tvm.build import schedule_module
from bnn_tvm.device import LocalDevice
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.passes.fuse_regions import fuse_regions
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.pipeline import FLOAT_PASSES
from bnn_tvm.passes.quantize_layers import Scale, quantize_weight
from bnn_tvm.target import get_target

# A portable target, then those with the instructions.
PORTABLE = "x86-64"
INT8_TARGETS = ("x86-64-vpopcntdq", "x86-64-avxvnni")
BF16_TARGET = "x86-64-zen4"


def needs(target: str) -> None:
    """Skip a test where the machine lacks the instructions of a target."""
    missing = LocalDevice.detect().lacks(get_target(target).cpu_flags)
    if missing:
        pytest.skip(f"this machine lacks {', '.join(missing)}")


def before_outlining(mod: IRModule) -> IRModule:
    for apply in FLOAT_PASSES[:-1]:
        mod = apply(mod)
    return mod


def run_outlined(
    mod: IRModule, arrays: Sequence[np.ndarray], target: str = PORTABLE
) -> list[np.ndarray]:
    """Outline, lower, schedule and run a module in which layers have their precision."""
    board = get_target(target)
    return run(schedule_module(lower_regions(fuse_regions(mod), board), board).mod, arrays, target)


def convolve(data: np.ndarray, weight: np.ndarray, window: Window, groups: int) -> np.ndarray:
    """Convolve padded (N, C, *extents) with (O, C of a group, *kernel), in the dtype of both."""
    positions = [
        (size - span) // step + 1
        for size, span, step in zip(data.shape[2:], window.spans, window.strides, strict=True)
    ]
    result = np.zeros((data.shape[0], weight.shape[0], *positions), data.dtype)
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    for step in itertools.product(*(range(extent) for extent in window.kernel)):
        starts = [k * dilation for k, dilation in zip(step, window.dilation, strict=True)]
        inside = [
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, positions, window.strides, strict=True)
        ]
        taken = data[(slice(None), slice(None), *inside)]
        for group in range(groups):
            own = slice(group * outputs, (group + 1) * outputs)
            part = taken[:, group * inputs : (group + 1) * inputs]
            result[:, own] += np.einsum("nc...,oc->no...", part, weight[(own, slice(None), *step)])
    return result


def pad(data: np.ndarray, window: Window, value: float) -> np.ndarray:
    widths = [(0, 0), (0, 0), *zip(window.before, window.after, strict=True)]
    return np.pad(data, widths, constant_values=value)


def quantized_conv(
    data: np.ndarray, weight: np.ndarray, window: Window, groups: int, scale: Scale
) -> np.ndarray:
    """Do what `quantize_layers` documents: exact integers, then one product in float32."""
    levels, steps = quantize_weight(weight, "nn.conv2d")
    numbers = quantize(pad(data, window, 0.0), scale) - scale.zero
    sums = convolve(numbers, levels.astype(np.int64), window, groups)
    along = (1, -1, *[1] * len(window.kernel))
    return sums.astype(np.float32) * (np.float32(scale.step) * steps).reshape(along)


def quantize(data: np.ndarray, scale: Scale) -> np.ndarray:
    scaled = np.clip(data * scale.factor + scale.offset, 0, 255)
    return np.floor(scaled).astype(np.int64)


def rounded(array: np.ndarray) -> np.ndarray:
    """Round to bfloat16, as float64."""
    return array.astype(ml_dtypes.bfloat16).astype(np.float64)


def fan_in(weight: np.ndarray) -> int:
    return math.prod(weight.shape[1:])
