"""Proof that a convolution or dense layer can run on bits, or the reason why not."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from .dataflow import constant_of, dtype_of, op_name, shape_of
from .levels import MAX_BITS, SIGNS, Levels, activation_levels, weight_levels
from .sign import Lookup

CONVOLUTIONS = {"nn.conv1d": "conv1d", "nn.conv2d": "conv2d", "nn.conv3d": "conv3d"}
"""Convolution operators and the names of the layers."""

_LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class LayerShape:
    """A convolution or dense layer, as its operator says.

    Attributes
    ----------
    op : str
        ``conv1d``, ``conv2d``, ``conv3d`` or ``dense``.
    weight_shape : tuple of int
        Outputs first, channels last, of a convolution; (inputs, units) of a dense layer.
    fan_in : int
        Products summed for one output value.
    macs : int
        Multiply-accumulates in all.
    """

    op: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    fan_in: int
    macs: int


def layer_shape(call: relax.Call, output: relax.Var) -> LayerShape | None:
    """Describe a convolution or a product with constant weights; None for others.

    Expects channels-last data and weights.
    """
    name = op_name(call)
    if (name not in CONVOLUTIONS and name != "matmul") or constant_of(call.args[1]) is None:
        return None
    weight, shape, fan_in = shape_of(call.args[1]), shape_of(output), _fan_in(call)
    op = CONVOLUTIONS.get(name, "dense")
    macs = int(np.prod(shape)) * fan_in
    return LayerShape(op, shape_of(call.args[0]), shape, weight, fan_in, macs)


def _fan_in(call: relax.Call) -> int:
    """Count the products summed for one output value of a layer."""
    weight = shape_of(call.args[1])
    return math.prod(weight[1:]) if op_name(call) in CONVOLUTIONS else weight[0]


def padding_before(call: relax.Call, lookup: Lookup) -> Any:
    """Return the padding that a convolution can absorb: one of space alone, right before it."""
    if op_name(call) not in CONVOLUTIONS:
        return None
    pad = lookup(call.args[0])
    if op_name(pad) != "nn.pad" or any(int(width) for width in call.attrs.padding):
        return None
    widths = [int(width) for width in pad.attrs.pad_width]
    return None if any(widths[:2]) or any(widths[-2:]) else pad


def data_levels(call: relax.Call, lookup: Lookup) -> Levels | None:
    """Prove the levels of a layer's data, before the padding that the layer absorbs."""
    pad = padding_before(call, lookup)
    return activation_levels(call.args[0] if pad is None else pad.args[0], lookup)


def reason_not_binary(call: relax.Call, lookup: Lookup) -> str:
    """Say in words why a layer cannot run on bits; '' if it can."""
    weight = constant_of(call.args[1])
    if weight is None:
        return "its weights are not constants"
    if dtype_of(call.args[1]) != "float32":
        return "it is in float, and runs in lower precision by choice"
    checks: list[tuple[Callable[[], bool], str]] = [
        (
            lambda: weight_levels(weight) is None,
            f"its weights are not of 1 to {MAX_BITS} bits (no quantizer before them)",
        ),
        (
            lambda: data_levels(call, lookup) is None,
            f"its input is not proven to be of 1 to {MAX_BITS} bits (no quantizer before it)",
        ),
        (
            lambda: op_name(call) == "matmul" and len(shape_of(call.args[0])) != 2,
            f"its input has {len(shape_of(call.args[0]))} dimensions; the kernel takes 2",
        ),
        (
            lambda: _largest_sum(call, weight, lookup) > _LARGEST_INT32,
            f"sums of its {_fan_in(call)} products may not fit into 32 bits",
        ),
    ]
    return next((reason for fails, reason in checks if fails()), "")


def _largest_sum(call: relax.Call, weight: np.ndarray, lookup: Lookup) -> int:
    """Bound what a kernel accumulates: twice the weighted disagreements of all products."""
    tops = [levels.top for levels in (weight_levels(weight), data_levels(call, lookup)) if levels]
    return 2 * _fan_in(call) * math.prod(tops)


def padding_value(call: relax.Call, lookup: Lookup) -> float | None:
    """Return what the padding of a convolution holds; None if there is no padding."""
    pad = padding_before(call, lookup)
    if pad is not None:
        return float(pad.attrs.pad_value)
    has_own = op_name(call) in CONVOLUTIONS and any(int(width) for width in call.attrs.padding)
    return 0.0 if has_own else None


def is_one_bit(call: relax.Call, lookup: Lookup) -> bool:
    """Tell whether all products of a layer are -1 or +1, those of its padding included."""
    weight = constant_of(call.args[1])
    if weight is None or reason_not_binary(call, lookup):
        return False
    one_bit = weight_levels(weight) == SIGNS and data_levels(call, lookup) == SIGNS
    return one_bit and padding_value(call, lookup) in (None, -1.0, 1.0)
