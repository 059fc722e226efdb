"""Operators that work value by value: arithmetic, comparisons, activations, rounding."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import relax
from tvm.relax import op

from ..attributes import Attributes
from .registry import (
    Context,
    Convert,
    constant,
    register,
    register_each,
    scalar,
    shape_of,
)

Binary = Callable[[relax.Expr, relax.Expr], relax.Expr]
Unary = Callable[[relax.Expr], relax.Expr]

UNARY: dict[str, Unary] = {
    "_contrib_sign_ste": op.sign,
    "abs": op.abs,
    "ceil": op.ceil,
    "exp": op.exp,
    "floor": op.floor,
    "log": op.log,
    "negative": op.negative,
    "relu": op.nn.relu,
    "rsqrt": op.rsqrt,
    "sigmoid": op.sigmoid,
    "sign": op.sign,
    "sqrt": op.sqrt,
    "square": op.square,
    "tanh": op.tanh,
    "trunc": op.trunc,
}

ARITHMETIC: dict[str, Binary] = {
    "_Div": op.divide,
    "_Minus": op.subtract,
    "_Mul": op.multiply,
    "_Plus": op.add,
    "_maximum": op.maximum,
    "_minimum": op.minimum,
    "_power": op.power,
    "broadcast_add": op.add,
    "broadcast_div": op.divide,
    "broadcast_maximum": op.maximum,
    "broadcast_minimum": op.minimum,
    "broadcast_mul": op.multiply,
    "broadcast_power": op.power,
    "broadcast_sub": op.subtract,
    "elemwise_add": op.add,
    "elemwise_div": op.divide,
    "elemwise_mul": op.multiply,
    "elemwise_sub": op.subtract,
}

SCALAR_ARITHMETIC: dict[str, Binary] = {
    "_div_scalar": op.divide,
    "_maximum_scalar": op.maximum,
    "_minimum_scalar": op.minimum,
    "_minus_scalar": op.subtract,
    "_mul_scalar": op.multiply,
    "_plus_scalar": op.add,
    "_power_scalar": op.power,
}

REVERSED_SCALAR_ARITHMETIC: dict[str, Binary] = {
    "_rdiv_scalar": op.divide,
    "_rminus_scalar": op.subtract,
    "_rpower_scalar": op.power,
}

COMPARISONS: dict[str, Binary] = {
    "equal": op.equal,
    "greater": op.greater,
    "greater_equal": op.greater_equal,
    "lesser": op.less,
    "lesser_equal": op.less_equal,
    "not_equal": op.not_equal,
}
"""Stem of ``broadcast_X``, ``_X`` and ``_X_scalar``."""

ACTIVATIONS: dict[str, Unary] = {
    "relu": op.nn.relu,
    "sigmoid": op.sigmoid,
    "softrelu": op.nn.softplus,
    "tanh": op.tanh,
}


def _unary(function: Unary) -> Convert:
    return lambda ctx: ctx.emit(function(ctx.expr()))


def _arithmetic(function: Binary) -> Convert:
    return lambda ctx: ctx.emit(function(ctx.expr(0), ctx.expr(1)))


def _with_scalar(function: Binary) -> Convert:
    return lambda ctx: ctx.emit(function(ctx.expr(), _scalar(ctx)))


def _with_scalar_first(function: Binary) -> Convert:
    return lambda ctx: ctx.emit(function(_scalar(ctx), ctx.expr()))


def _comparison(function: Binary) -> Convert:
    return lambda ctx: _emit_comparison(ctx, function(ctx.expr(0), ctx.expr(1)))


def _scalar_comparison(function: Binary) -> Convert:
    return lambda ctx: _emit_comparison(ctx, function(ctx.expr(), _scalar(ctx)))


def _scalar(ctx: Context) -> relax.Constant:
    return scalar(ctx.attrs.real("scalar"))


def _emit_comparison(ctx: Context, compared: relax.Expr) -> relax.Expr:
    """Give the 0 and 1 in float32 that MXNet gives, and remember the boolean for `where`."""
    mask = ctx.emit(compared, "mask")
    value = ctx.emit(op.astype(mask, "float32"))
    ctx.emitter.masks[value] = mask
    return value


register_each({name: _unary(f) for name, f in UNARY.items()})
register_each({name: _arithmetic(f) for name, f in ARITHMETIC.items()})
register_each({name: _with_scalar(f) for name, f in SCALAR_ARITHMETIC.items()})
register_each({name: _with_scalar_first(f) for name, f in REVERSED_SCALAR_ARITHMETIC.items()})
register_each({f"broadcast_{name}": _comparison(f) for name, f in COMPARISONS.items()})
register_each({f"_{name}": _comparison(f) for name, f in COMPARISONS.items()})
register_each({f"_{name}_scalar": _scalar_comparison(f) for name, f in COMPARISONS.items()})


@register("where")
def convert_where(ctx: Context) -> relax.Expr:
    """Choose by a condition of the same shape; any value but 0 counts as true."""
    condition, chosen, other = (ctx.expr(slot) for slot in range(3))
    if shape_of(condition) != shape_of(chosen):
        raise ctx.error("the condition must have the shape of the values")
    mask = ctx.emitter.masks.get(condition)
    if mask is None:
        mask = ctx.emit(op.not_equal(condition, scalar(0)), "mask")
    return ctx.emit(op.where(mask, chosen, other))


@register("add_n", "ElementWiseSum")
def convert_sum_of_inputs(ctx: Context) -> relax.Expr:
    """Add all inputs, from left to right."""
    *earlier, last = (ctx.expr(slot) for slot in range(len(ctx.values)))
    if not earlier:
        return last
    total = earlier[0]
    for term in earlier[1:]:
        total = ctx.emit(op.add(total, term), "partial")
    return ctx.emit(op.add(total, last))


@register("clip")
def convert_clip(ctx: Context) -> relax.Expr:
    """Limit to a_min..a_max."""
    return ctx.emit(op.clip(ctx.expr(), ctx.attrs.real("a_min"), ctx.attrs.real("a_max")))


@register("round", "round_ste", "_contrib_round_ste")
def convert_round(ctx: Context) -> relax.Expr:
    """Round half away from zero, as C does."""
    return emit_round(ctx, ctx.expr())


def emit_round(ctx: Context, x: relax.Expr, suffix: str = "") -> relax.Var:
    """Emit trunc(x) + (sign(x) where abs(x - trunc(x)) >= 1/2): exact for every float.

    Relax's own round sends halves to the even neighbour.
    """
    whole = ctx.emit(op.trunc(x), "whole")
    rest = ctx.emit(op.abs(ctx.emit(op.subtract(x, whole), "fraction")), "rest")
    away = ctx.emit(op.greater_equal(rest, scalar(0.5)), "away")
    step = ctx.emit(op.where(away, ctx.emit(op.sign(x), "sign"), scalar(0)), "step")
    return ctx.emit(op.add(whole, step), suffix)


def _refuse_activation(attrs: Attributes) -> str | None:
    kind = attrs.text("act_type", "missing")
    if kind in ACTIVATIONS:
        return None
    return f"act_type {kind} is not supported, only {', '.join(ACTIVATIONS)}"


@register("Activation", refuse=_refuse_activation)
def convert_activation(ctx: Context) -> relax.Expr:
    """Apply one of the named functions."""
    return ctx.emit(ACTIVATIONS[ctx.attrs.text("act_type")](ctx.expr()))


def _refuse_leaky(attrs: Attributes) -> str | None:
    kind = attrs.text("act_type", "leaky")
    return None if kind == "leaky" else f"act_type {kind} is not supported, only leaky"


@register("LeakyReLU", refuse=_refuse_leaky)
def convert_leaky_relu(ctx: Context) -> relax.Expr:
    """Keep x where x > 0, else give slope * x."""
    return ctx.emit(op.nn.leakyrelu(ctx.expr(), ctx.attrs.real("slope", 0.25)))


def _refuse_other_dtype(attrs: Attributes) -> str | None:
    dtype = attrs.text("dtype", "float32")
    return None if dtype == "float32" else f"dtype {dtype} is not supported, only float32"


def _refuse_random(attrs: Attributes) -> str | None:
    mode = attrs.text("mode", "training")
    return None if mode == "training" else f"mode {mode} is not supported, only training"


@register("BlockGrad", "_contrib_gradcancel", "_copy", "identity", "stop_gradient")
@register("Cast", refuse=_refuse_other_dtype)
@register("Dropout", refuse=_refuse_random)
def convert_identity(ctx: Context) -> relax.Expr:
    """Pass the input on: the operator matters in training only."""
    return ctx.expr()


@register("_full", "_ones", "_zeros", refuse=_refuse_other_dtype)
def convert_filled(ctx: Context) -> relax.Expr:
    """Make a constant of one value."""
    value = {"_ones": 1.0, "_zeros": 0.0}.get(ctx.node.op)
    shape = ctx.attrs.numbers("shape")
    if min(shape, default=1) < 1:
        raise ctx.error(f"the shape {shape} is not known")
    return constant(np.full(shape, ctx.attrs.real("value") if value is None else value))


@register("size_array")
def convert_size(ctx: Context) -> relax.Expr:
    """Make a constant of shape (1,): the number of values of the input."""
    return constant(np.array([math.prod(shape_of(ctx.expr()))]))


@register("ones_like", "zeros_like")
def convert_filled_like(ctx: Context) -> relax.Expr:
    """Make a constant of the input's shape."""
    return constant(np.full(shape_of(ctx.expr()), float(ctx.node.op == "ones_like")))
