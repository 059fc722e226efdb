"""Operators that move, cut, join or reduce axes."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import relax
from tvm.relax import op

from ..attributes import Attributes
from ..reshape_codes import apply_reshape_codes
from .registry import Context, Convert, register, register_each, shape_of

REDUCTIONS: dict[str, Callable[..., relax.Expr]] = {
    "max": op.max,
    "mean": op.mean,
    "min": op.min,
    "sum": op.sum,
}


def _reduction(function: Callable[..., relax.Expr]) -> Convert:
    return lambda ctx: _emit_reduction(ctx, function)


def _emit_reduction(ctx: Context, function: Callable[..., relax.Expr]) -> relax.Expr:
    """Reduce the named axes, all by default, or with ``exclude`` all but the named ones."""
    attrs, rank = ctx.attrs, len(shape_of(ctx.expr()))
    named = {_axis(ctx, axis, rank) for axis in attrs.numbers("axis", ())}
    chosen = set(range(rank)) - named if attrs.flag("exclude", False) else named
    axes = sorted(chosen) if attrs.is_set("axis") and named else list(range(rank))
    keepdims = attrs.flag("keepdims", False)
    if len(axes) < rank or keepdims:
        return ctx.emit(function(ctx.expr(), axis=axes, keepdims=keepdims))
    # MXNet has no tensors of no dimensions: a full reduction has the shape (1,).
    return ctx.emit(op.reshape(ctx.emit(function(ctx.expr(), axis=axes), "all"), (1,)))


def _axis(ctx: Context, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ctx.error(f"axis {axis} is not one of the {rank} axes of the input")
    return axis % rank


register_each({name: _reduction(f) for name, f in REDUCTIONS.items()})


def _refuse_reverse(attrs: Attributes) -> str | None:
    if attrs.flag("reverse", False):
        return "reverse=True is not supported"
    return None if attrs.is_set("shape") else "target_shape is not supported, use shape"


@register("Reshape", refuse=_refuse_reverse)
def convert_reshape(ctx: Context) -> relax.Expr:
    """Reshape with MXNet's codes 0, -1, -2, -3 and -4."""
    old, codes = shape_of(ctx.expr()), ctx.attrs.numbers("shape")
    try:
        new = apply_reshape_codes(old, codes)
    except ValueError as error:
        raise ctx.error(f"shape {old} cannot become {codes} ({error})") from error
    return ctx.emit(op.reshape(ctx.expr(), new))


@register("Flatten")
def convert_flatten(ctx: Context) -> relax.Expr:
    """Join all axes but the first."""
    shape = shape_of(ctx.expr())
    return ctx.emit(op.reshape(ctx.expr(), (shape[0], math.prod(shape[1:]))))


@register("expand_dims")
def convert_expand_dims(ctx: Context) -> relax.Expr:
    """Insert an axis of size 1."""
    return ctx.emit(op.expand_dims(ctx.expr(), ctx.attrs.integer("axis")))


@register("squeeze")
def convert_squeeze(ctx: Context) -> relax.Expr:
    """Drop axes of size 1: the named ones, or all."""
    axes = ctx.attrs.numbers("axis", ())
    return ctx.emit(op.squeeze(ctx.expr(), list(axes) or None))


@register("transpose")
def convert_transpose(ctx: Context) -> relax.Expr:
    """Permute the axes; without ``axes`` reverse them."""
    axes = ctx.attrs.numbers("axes", ())
    return ctx.emit(op.permute_dims(ctx.expr(), list(axes) or None))


@register("SwapAxis")
def convert_swap_axis(ctx: Context) -> relax.Expr:
    """Exchange two axes."""
    rank = len(shape_of(ctx.expr()))
    first, second = (_axis(ctx, ctx.attrs.integer(key, 0), rank) for key in ("dim1", "dim2"))
    axes = list(range(rank))
    axes[first], axes[second] = second, first
    return ctx.emit(op.permute_dims(ctx.expr(), axes))


@register("Concat", "concat")
def convert_concat(ctx: Context) -> relax.Expr:
    """Join all inputs along one axis, the channels by default."""
    parts = [ctx.expr(slot) for slot in range(len(ctx.values))]
    return ctx.emit(op.concat(parts, ctx.attrs.integer("dim", 1)))


@register("slice_axis")
def convert_slice_axis(ctx: Context) -> relax.Expr:
    """Cut begin..end out of one axis; negative numbers count from its end."""
    attrs, shape = ctx.attrs, shape_of(ctx.expr())
    axis = _axis(ctx, attrs.integer("axis"), len(shape))
    size = shape[axis]
    begin = _from_end(attrs.integer("begin"), size)
    end = _from_end(attrs.integer("end", size), size)
    if not 0 <= begin < end <= size:
        raise ctx.error(f"cannot cut {begin}..{end} out of axis {axis} of size {size}")
    return ctx.emit(op.strided_slice(ctx.expr(), [axis], [begin], [end]))


def _from_end(position: int, size: int) -> int:
    return position + size if position < 0 else position


def _refuse_pad(attrs: Attributes) -> str | None:
    mode = attrs.text("mode", "constant")
    return None if mode == "constant" else f"mode {mode} is not supported, only constant"


@register("Pad", "pad", refuse=_refuse_pad)
def convert_pad(ctx: Context) -> relax.Expr:
    """Surround with a constant; two widths an axis, before and after."""
    widths = ctx.attrs.numbers("pad_width")
    if len(widths) != 2 * len(shape_of(ctx.expr())) or min(widths) < 0:
        raise ctx.error(f"pad_width {widths} must hold two widths for each axis")
    value = ctx.attrs.real("constant_value", 0.0)
    return ctx.emit(op.nn.pad(ctx.expr(), list(widths), "constant", value))
