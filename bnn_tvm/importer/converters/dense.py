"""FullyConnected: flatten, multiply, add the bias."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax
from tvm.relax import op

from .convolution import add_bias
from .registry import Context, constant, register, shape_of


@register("FullyConnected")
def convert_dense(ctx: Context) -> relax.Expr:
    """Multiply by the transposed weight, (units, inputs) in MXNet and (inputs, units) here."""
    rows = as_rows(ctx, ctx.expr(), ctx.attrs.flag("flatten", True))
    wanted = (ctx.attrs.integer("num_hidden"), shape_of(rows)[-1])
    found = shape_of(ctx.expr(1))
    if found != wanted:
        raise ctx.error(f"the weight has the shape {found}, but the input needs {wanted}")
    product = ctx.emit(op.matmul(rows, _transposed_weight(ctx)))
    return add_bias(ctx, product, axis=-1)


def as_rows(ctx: Context, data: relax.Expr, flatten: bool) -> relax.Expr:
    """Join all axes but the first if ``flatten``; emits nothing when that changes nothing."""
    shape = shape_of(data)
    if not flatten or len(shape) == 2:
        return data
    return ctx.emit(op.reshape(data, (shape[0], math.prod(shape[1:]))), "flatten")


def _transposed_weight(ctx: Context) -> relax.Expr:
    weight = ctx.values[1]
    if isinstance(weight, np.ndarray):
        return constant(weight.T)
    return ctx.emit(op.permute_dims(weight, [1, 0]), "weight")
