"""Binarization and BMXNet's own layers: QActivation, and Q layers with packed weights.

Meaning of a Q layer of v1, and of v2 after its converter: the input's signs, a border of +1,
the dot product with weights of -1 and +1, then (dot + n) / 2 with n the fan-in.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax
from tvm.relax import op

from ...reference import det_sign
from ..attributes import Attributes
from ..packed import decode_convolution, decode_dense
from .convolution import Window, read_window
from .dense import as_rows
from .elementwise import emit_round
from .registry import Context, constant, register, scalar, shape_of

FULL_BITS = 32


@register("det_sign", "approx_sign")
def convert_det_sign(ctx: Context) -> relax.Expr:
    """-1 where x < 0, else +1; the two operators differ in their gradient only."""
    return emit_det_sign(ctx, ctx.expr())


def emit_det_sign(ctx: Context, x: relax.Expr, suffix: str = "") -> relax.Var:
    """Emit the form of binarization that the passes look for."""
    mask_suffix = f"{suffix}_mask" if suffix else "mask"
    negative = ctx.emit(op.less(x, scalar(0)), mask_suffix)
    return ctx.emit(op.where(negative, scalar(-1), scalar(1)), suffix)


@register("QActivation")
def convert_activation(ctx: Context) -> relax.Expr:
    """v1: the identity, the sign, or round(clip(x, 0, 1) V) / V with V = 2^bits - 1."""
    bits = ctx.attrs.integer("act_bit", 1)
    if ctx.attrs.flag("backward_only", False) or bits >= FULL_BITS:
        return ctx.expr()
    if bits == 1:
        return emit_det_sign(ctx, ctx.expr())
    levels = scalar(2**bits - 1)
    clipped = ctx.emit(op.clip(ctx.expr(), 0.0, 1.0), "clip")
    scaled = ctx.emit(op.multiply(clipped, levels), "scale")
    return ctx.emit(op.divide(emit_round(ctx, scaled, "round"), levels))


def _refuse_v1(attrs: Attributes) -> str | None:
    if attrs.integer("act_bit", 1) != 1 or attrs.integer("weight_bit", 1) != 1:
        return "only act_bit=1 with weight_bit=1 is supported"
    if attrs.text("scaling_mode", "none") == "forward":
        return "scaling_mode=forward is not supported: packed weights have lost their scale"
    return _refuse_packed(attrs)


def _refuse_packed(attrs: Attributes) -> str | None:
    if attrs.integer("num_group", 1) != 1:
        return "only num_group=1 is supported"
    if not attrs.flag("no_bias", True):
        return "a bias is not supported in a binary layer"
    if attrs.text("layout", "NCHW") != "NCHW":
        return "only layout NCHW is supported"
    return None


@register("QConvolution", "QConvolution_v1", refuse=_refuse_v1)
def convert_v1_convolution(ctx: Context) -> relax.Expr:
    """BMXNet v1's convolution; its weight is packed or, straight from training, float."""
    return _convolve(ctx, ctx.attrs.flag("binarized_weights_only", False))


@register("BinaryInferenceConvolution", refuse=_refuse_packed)
def convert_v2_convolution(ctx: Context) -> relax.Expr:
    """Convolution of BMXNet v2 after its converter; its weight is always packed."""
    return _convolve(ctx, packed=True)


@register("QFullyConnected", refuse=_refuse_v1)
def convert_v1_dense(ctx: Context) -> relax.Expr:
    """BMXNet v1's dense layer; its weight is packed or, straight from training, float."""
    return _multiply(ctx, ctx.attrs.flag("binarized_weights_only", False))


@register("BinaryInferenceFullyConnected", refuse=_refuse_packed)
def convert_v2_dense(ctx: Context) -> relax.Expr:
    """Dense layer of BMXNet v2 after its converter; its weight is always packed."""
    return _multiply(ctx, packed=True)


def _convolve(ctx: Context, packed: bool) -> relax.Expr:
    window = read_window(ctx, rank=2)
    channels = shape_of(ctx.expr())[1]
    shape = (ctx.attrs.integer("num_filter"), channels, *window.kernel)
    weight = _read_weight(ctx, shape, decode_convolution if packed else None)
    signs = emit_det_sign(ctx, ctx.expr(), "sign")
    padded = _pad_with_ones(ctx, signs, window)
    dot = ctx.emit(
        op.nn.conv2d(padded, constant(weight), strides=window.strides, dilation=window.dilation)
    )
    return _count_from_dot(ctx, dot, channels * window.kernel[0] * window.kernel[1])


def _multiply(ctx: Context, packed: bool) -> relax.Expr:
    rows = as_rows(ctx, ctx.expr(), ctx.attrs.flag("flatten", True))
    fan_in = shape_of(rows)[-1]
    shape = (ctx.attrs.integer("num_hidden"), fan_in)
    weight = _read_weight(ctx, shape, decode_dense if packed else None)
    signs = emit_det_sign(ctx, rows, "sign")
    dot = ctx.emit(op.matmul(signs, constant(weight.T)))
    return _count_from_dot(ctx, dot, fan_in)


Decode = Callable[[np.ndarray, tuple[int, ...]], np.ndarray]


def _read_weight(ctx: Context, shape: tuple[int, ...], decode: Decode | None) -> np.ndarray:
    if len(ctx.values) > 2:
        raise ctx.error("a bias is not supported in a binary layer")
    array = ctx.array(1)
    if decode is not None:
        return decode(array, shape)
    if array.shape != shape:
        raise ctx.error(f"the weight has the shape {array.shape}, not {shape}")
    return det_sign(array)


def _pad_with_ones(ctx: Context, signs: relax.Expr, window: Window) -> relax.Expr:
    """Add the border of v1, which pads with zeros first and takes the sign afterwards."""
    if not any(window.pad):
        return signs
    widths = [0, 0, 0, 0] + [p for p in window.pad for _ in range(2)]
    return ctx.emit(op.nn.pad(signs, widths, "constant", 1.0), "pad")


def _count_from_dot(ctx: Context, dot: relax.Expr, fan_in: int) -> relax.Expr:
    shifted = ctx.emit(op.add(dot, scalar(fan_in)), "offset")
    return ctx.emit(op.divide(shifted, scalar(2)), "count")
