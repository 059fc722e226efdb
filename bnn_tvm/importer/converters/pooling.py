"""Pooling with MXNet's two ways to round the output size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tvm import relax
from tvm.relax import op

from ..attributes import Attributes
from .convolution import refuse_channels_last
from .registry import Context, register, scalar, shape_of

MAX_POOLS = {1: op.nn.max_pool1d, 2: op.nn.max_pool2d, 3: op.nn.max_pool3d}
AVG_POOLS = {1: op.nn.avg_pool1d, 2: op.nn.avg_pool2d, 3: op.nn.avg_pool3d}

REDUCTIONS = {"max": op.max, "avg": op.mean, "sum": op.sum}


def _refuse_pooling(attrs: Attributes) -> str | None:
    kind = attrs.text("pool_type", "max")
    if kind not in REDUCTIONS:
        return f"pool_type {kind} is not supported, only {', '.join(REDUCTIONS)}"
    convention = attrs.text("pooling_convention", "valid")
    if convention not in ("valid", "full"):
        return f"pooling_convention {convention} is not supported, only valid and full"
    return refuse_channels_last(attrs)


@register("Pooling", refuse=_refuse_pooling)
def convert_pooling(ctx: Context) -> relax.Expr:
    """Pool; global pooling ignores kernel, stride and pad."""
    rank = len(shape_of(ctx.expr())) - 2
    if rank not in MAX_POOLS:
        raise ctx.error(f"the input has {rank + 2} dimensions, not 3 to 5")
    kind = ctx.attrs.text("pool_type", "max")
    if ctx.attrs.flag("global_pool", False):
        axes = list(range(2, rank + 2))
        return ctx.emit(REDUCTIONS[kind](ctx.expr(), axis=axes, keepdims=True))
    window = _read_window(ctx, rank)
    if kind == "max":
        return ctx.emit(_pool(MAX_POOLS[rank], ctx.expr(), window))
    return _convert_average(ctx, window, kind)


@dataclass(frozen=True)
class _Window:
    """Where windows lie; ``overhang`` is what the last one needs beyond the padding."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pad: tuple[int, ...]
    overhang: tuple[int, ...]


def _read_window(ctx: Context, rank: int) -> _Window:
    attrs, ones = ctx.attrs, (1,) * rank
    kernel = attrs.numbers("kernel")
    strides = attrs.numbers("stride", ones) or ones
    pad = attrs.numbers("pad", (0,) * rank) or (0,) * rank
    if {len(kernel), len(strides), len(pad)} != {rank} or min(*kernel, *strides) < 1:
        raise ctx.error(f"kernel, stride and pad must have {rank} positive entries each")
    if any(not 0 <= p < k for p, k in zip(pad, kernel, strict=True)):
        raise ctx.error(f"pad {pad} must be smaller than the kernel {kernel}")
    full = attrs.text("pooling_convention", "valid") == "full"
    sizes = shape_of(ctx.expr())[2:]
    overhang = tuple(map(_overhang if full else _no_overhang, sizes, kernel, strides, pad))
    return _Window(kernel, strides, pad, overhang)


def _overhang(size: int, kernel: int, stride: int, pad: int) -> int:
    """How far the last window reaches past the padded input when the size is rounded up."""
    span = size + 2 * pad - kernel
    return max(0, math.ceil(span / stride) * stride - span)


def _no_overhang(*_: int) -> int:
    return 0


def _convert_average(ctx: Context, window: _Window, kind: str) -> relax.Expr:
    """Average or sum, with MXNet's divisor.

    That is the part of the window inside the padded input, or inside the input alone when
    ``count_include_pad`` is off; an overhang never counts.
    """
    pool = AVG_POOLS[len(window.kernel)]
    data = ctx.expr()
    counts_pad = ctx.attrs.flag("count_include_pad", True)
    if kind == "sum":
        whole = ctx.emit(_pool(pool, data, window, count_include_pad=True), "mean")
        return ctx.emit(op.multiply(whole, scalar(math.prod(window.kernel))))
    if counts_pad and any(window.pad) and any(window.overhang):
        data = ctx.emit(op.nn.pad(data, _pad_widths(window), "constant", 0.0), "pad")
        window = _Window(window.kernel, window.strides, (0,) * len(window.pad), window.overhang)
    counts_pad = counts_pad and not any(window.overhang)
    return ctx.emit(_pool(pool, data, window, count_include_pad=counts_pad))


def _pool(pool: relax.Expr, data: relax.Expr, window: _Window, **options: bool) -> relax.Expr:
    after = [p + extra for p, extra in zip(window.pad, window.overhang, strict=True)]
    return pool(
        data,
        pool_size=window.kernel,
        strides=window.strides,
        padding=[*window.pad, *after],
        **options,
    )


def _pad_widths(window: _Window) -> list[int]:
    return [0, 0, 0, 0] + [p for p in window.pad for _ in range(2)]
