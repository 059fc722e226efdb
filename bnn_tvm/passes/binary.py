"""Proof that tensors hold only -1 and +1, and that a convolution or dense layer is binary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax

from .dataflow import Constant, arguments, constant_of, op_name, shape_of
from .sign import Lookup, sign_operand

# A result holds only values of its operands.
_COPYING = ("reshape", "permute_dims", "concat", "strided_slice", "nn.max_pool2d")


def holds_signs(expr: relax.Expr, lookup: Lookup) -> bool:
    """Prove that every value of a tensor is -1 or +1.

    Parameters
    ----------
    expr : relax.Expr
        A variable or a constant.
    lookup : callable
        Gives the call that a variable holds.
    """
    if isinstance(expr, Constant):
        return bool(np.all(np.abs(expr.value.numpy()) == 1))
    call = lookup(expr)
    if sign_operand(call, lookup) is not None:
        return True
    if op_name(call) == "nn.pad":
        return abs(float(call.attrs.pad_value)) == 1 and holds_signs(call.args[0], lookup)
    tensors = (
        [arg for arg in arguments(call) if isinstance(arg, relax.Var)] if call is not None else []
    )
    return op_name(call) in _COPYING and all(holds_signs(arg, lookup) for arg in tensors)


@dataclass(frozen=True)
class LayerShape:
    """A convolution or dense layer, as its operator says.

    Attributes
    ----------
    op : str
        ``conv2d`` or ``dense``.
    weight_shape : tuple of int
        OHWI of a convolution; (inputs, units) of a dense layer.
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
    """Describe a convolution (NHWC, OHWI) or a product with constant weights; None for others."""
    name = op_name(call)
    if name not in ("nn.conv2d", "matmul") or constant_of(call.args[1]) is None:
        return None
    weight, shape = shape_of(call.args[1]), shape_of(output)
    fan_in = int(np.prod(weight[1:])) if name == "nn.conv2d" else weight[0]
    op = "conv2d" if name == "nn.conv2d" else "dense"
    macs = int(np.prod(shape)) * fan_in
    return LayerShape(op, shape_of(call.args[0]), shape, weight, fan_in, macs)


def _has_zero_padding(call: relax.Call) -> bool:
    return op_name(call) == "nn.conv2d" and any(int(p) for p in call.attrs.padding)


def _groups(call: relax.Call) -> int:
    return int(call.attrs.groups) if op_name(call) == "nn.conv2d" else 1


def reason_not_binary(call: relax.Call, lookup: Lookup) -> str:
    """Say in words why a layer cannot run on bits; '' if it can."""
    checks: list[tuple[Callable[[], bool], str]] = [
        (lambda: constant_of(call.args[1]) is None, "its weights are not constants"),
        (
            lambda: not holds_signs(call.args[1], lookup),
            "its weights are not all -1 or +1 (no binary quantizer before them)",
        ),
        (
            lambda: not holds_signs(call.args[0], lookup),
            "its input is not proven to be -1 or +1 (no sign activation before it)",
        ),
        (
            lambda: _has_zero_padding(call),
            "it pads binary data with 0, which is neither -1 nor +1",
        ),
        (lambda: _groups(call) != 1, f"it has {_groups(call)} groups; the kernel takes 1"),
        (
            lambda: op_name(call) == "matmul" and len(shape_of(call.args[0])) != 2,
            f"its input has {len(shape_of(call.args[0]))} dimensions; the kernel takes 2",
        ),
    ]
    return next((reason for fails, reason in checks if fails()), "")
