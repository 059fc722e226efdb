"""Batch normalization at inference, and the softmax family."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax
from tvm.relax import op

from ..attributes import Attributes
from .registry import Context, constant, register, scalar, shape_of

DEFAULT_EPS = float(np.float32(1e-3))
"""MXNet's default is a float that was widened to double."""


def _refuse_statistics(attrs: Attributes) -> str | None:
    return "output_mean_var is not supported" if attrs.flag("output_mean_var", False) else None


@register("BatchNorm", "BatchNorm_v1", refuse=_refuse_statistics)
def convert_batch_norm(ctx: Context) -> relax.Expr:
    """(x - mean) * scale + beta, with scale = gamma / sqrt(var + eps) computed in float64.

    ``fix_gamma``, on by default, makes gamma 1 whatever the file holds.
    """
    shape, axis = shape_of(ctx.expr()), ctx.attrs.integer("axis", 1)
    channels = shape[axis]
    gamma, beta, mean, var = (ctx.vector(slot, channels) for slot in (1, 2, 3, 4))
    variance = var + ctx.attrs.real("eps", DEFAULT_EPS)
    if not np.all(variance > 0):
        raise ctx.error("the moving variance is negative or no number")
    fixed = ctx.attrs.flag("fix_gamma", True)
    scale = (1.0 if fixed else gamma) / np.sqrt(variance)
    along = [1] * len(shape)
    along[axis] = channels
    centred = ctx.emit(op.subtract(ctx.expr(), constant(mean.reshape(along))), "centre")
    scaled = ctx.emit(op.multiply(centred, constant(scale.reshape(along))), "scale")
    return ctx.emit(op.add(scaled, constant(beta.reshape(along))))


def _refuse_length(attrs: Attributes) -> str | None:
    if attrs.flag("use_length", False):
        return "use_length is not supported"
    return None


@register("softmax", refuse=_refuse_length)
def convert_softmax(ctx: Context) -> relax.Expr:
    """Softmax along an axis, of x / temperature."""
    return ctx.emit(op.nn.softmax(_cooled(ctx), ctx.attrs.integer("axis", -1)))


@register("log_softmax", refuse=_refuse_length)
def convert_log_softmax(ctx: Context) -> relax.Expr:
    """Logarithm of the softmax along an axis, of x / temperature."""
    return ctx.emit(op.nn.log_softmax(_cooled(ctx), ctx.attrs.integer("axis", -1)))


def _cooled(ctx: Context) -> relax.Expr:
    temperature = ctx.attrs.real("temperature", 1.0)
    if temperature == 1.0:
        return ctx.expr()
    return ctx.emit(op.divide(ctx.expr(), scalar(temperature)), "cooled")


@register("SoftmaxOutput", "Softmax")
def convert_softmax_output(ctx: Context) -> relax.Expr:
    """Softmax of the old training scripts; the label, its second input, is not read."""
    data, shape = ctx.expr(), shape_of(ctx.expr())
    if ctx.attrs.flag("multi_output", False):
        return ctx.emit(op.nn.softmax(data, 1))
    if ctx.attrs.flag("preserve_shape", False) or len(shape) == 2:
        return ctx.emit(op.nn.softmax(data, -1))
    rows = ctx.emit(op.reshape(data, (shape[0], math.prod(shape[1:]))), "flatten")
    return ctx.emit(op.reshape(ctx.emit(op.nn.softmax(rows, -1), "rows"), shape))
