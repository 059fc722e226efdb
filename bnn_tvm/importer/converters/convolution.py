"""Convolution of one to three spatial dimensions, channels first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.relax import op

from ..attributes import Attributes
from .registry import Context, constant, register, shape_of

CONVOLUTIONS = {1: op.nn.conv1d, 2: op.nn.conv2d, 3: op.nn.conv3d}

CHANNELS_FIRST = ("None", "NCW", "NCHW", "NCDHW")


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution, one entry a spatial dimension."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def both_pads(self) -> list[int]:
        """Padding before every dimension, then after every dimension, as Relax takes it."""
        return [*self.pad, *self.pad]


def read_window(ctx: Context, rank: int) -> Window:
    """Read the window attributes, which must have one positive entry a spatial dimension."""
    attrs = ctx.attrs
    kernel = attrs.numbers("kernel")
    ones, zeros = (1,) * rank, (0,) * rank
    strides = attrs.numbers("stride", ones) or ones
    dilation = attrs.numbers("dilate", ones) or ones
    pad = attrs.numbers("pad", zeros) or zeros
    if {len(v) for v in (kernel, strides, dilation, pad)} != {rank}:
        raise ctx.error(f"kernel, stride, dilate and pad must have {rank} entries each")
    if min(*kernel, *strides, *dilation) < 1 or min(pad) < 0:
        raise ctx.error("kernel, stride and dilate must be positive, pad not negative")
    return Window(kernel, strides, pad, dilation)


def refuse_channels_last(attrs: Attributes) -> str | None:
    """Refuse what stock MXNet runs on GPUs only."""
    layout = attrs.text("layout", "None")
    return None if layout in CHANNELS_FIRST else f"layout {layout} is not supported, use NCHW"


@register("Convolution", "Convolution_v1", refuse=refuse_channels_last)
def convert_convolution(ctx: Context) -> relax.Expr:
    """Cross-correlate, then add the bias if there is one."""
    data, weight = ctx.expr(0), ctx.expr(1)
    rank = len(shape_of(data)) - 2
    if rank not in CONVOLUTIONS:
        raise ctx.error(f"the input has {rank + 2} dimensions, not 3 to 5")
    window, groups = read_window(ctx, rank), ctx.attrs.integer("num_group", 1)
    _check_weight(ctx, shape_of(data)[1], shape_of(weight), window.kernel, groups)
    convolved = ctx.emit(
        CONVOLUTIONS[rank](
            data,
            weight,
            strides=window.strides,
            padding=window.both_pads,
            dilation=window.dilation,
            groups=groups,
        )
    )
    return add_bias(ctx, convolved, axis=1)


def add_bias(ctx: Context, result: relax.Expr, axis: int) -> relax.Expr:
    """Add input 2, one value a channel of ``axis``, if the node has such an input."""
    if len(ctx.values) < 3:
        return result
    shape = np.ones(len(shape_of(result)), dtype=int)
    shape[axis] = -1
    bias = ctx.vector(2, shape_of(result)[axis]).reshape(shape)
    return ctx.emit(op.add(result, constant(bias)), "bias")


def _check_weight(
    ctx: Context, channels: int, found: tuple[int, ...], kernel: tuple[int, ...], groups: int
) -> None:
    filters = ctx.attrs.integer("num_filter")
    if groups < 1 or channels % groups or filters % groups:
        raise ctx.error(f"{groups} groups do not divide {channels} and {filters} channels")
    wanted = (filters, channels // groups, *kernel)
    if found != wanted:
        raise ctx.error(
            f"the weight has the shape {found}, but {channels} input channels need {wanted}"
        )
