"""Layers in lower precision: neighbouring products of bytes or short floats, summed at once.

The inputs of a window lie in rows, one pixel's channels after the other's. Along a row they are
multiplied in groups, of four bytes or two bfloat16 numbers, so that groups are full even where a
pixel has three channels. What a last group has too many meets weights of 0. The forms that only
tensor cores have, float16 and tf32, are here for other processors to compute the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm import te, tirx
from tvm.ir import Expr

from .bf16 import from_bf16
from .border import Element, gather
from .geometry import Extents, Window
from .groups import GroupPlan
from .stages import ACCUMULATE, PADDED

# Rows of planes are as long as whole vectors of so many numbers.
_PLANE_LANES = 16
# What more products may cost before data is transposed and copied instead, in passes of its own.
_MOST_PLANE_PRODUCTS = 1.1


@dataclass(frozen=True)
class DotType:
    """Numbers that are multiplied and summed in groups.

    Attributes
    ----------
    suffix : str
        Of the kinds of kernels.
    group : int
        Products that one lane of the instruction sums.
    data, weight : str
        Dtypes as stored; bfloat16 is stored as ``uint16``.
    sum : str
        Dtype of the sum.
    """

    suffix: str
    group: int
    data: str
    weight: str
    sum: str

    def product(self, data: Expr, weight: Expr) -> Expr:
        """Multiply two numbers in the dtype of the sum."""
        if self is BF16:
            return from_bf16(data) * from_bf16(weight)
        if self is TF32:
            return round_to_tf32(data) * weight
        return data.astype(self.sum) * weight.astype(self.sum)


INT8 = DotType("int8", 4, "uint8", "int8", "int32")
BF16 = DotType("bf16", 2, "uint16", "uint16", "float32")
FP16 = DotType("fp16", 2, "float16", "float16", "float32")
TF32 = DotType("tf32", 1, "float32", "float32", "float32")
"""Data is stored as float32 and rounded where it is multiplied; weights are rounded before."""

# Of a float32's bits, those that a tf32 keeps, and half of the last of them.
_TF32_BITS, _TF32_HALF = 0xFFFFE000, 0x1000


def round_to_tf32(x: Expr) -> Expr:
    """Round a float32 to the 11 significant bits of a tf32: to the nearest, halves away from 0."""
    rounded = tirx.reinterpret("uint32", x) + tirx.const(_TF32_HALF, "uint32")
    return tirx.reinterpret("float32", rounded & tirx.const(_TF32_BITS, "uint32"))


@dataclass(frozen=True)
class RowPlan:
    """How a window lies in rows of numbers.

    Attributes
    ----------
    steps : tuple of int
        Kernel axes that are stepped along; the last one is missing if whole pixels are joined.
    run : int
        Neighbouring numbers of a step.
    group : int
        Numbers of one group.
    """

    steps: Extents
    run: int
    group: int

    @property
    def chunks(self) -> int:
        """Groups that a run takes."""
        return -(-self.run // self.group)

    @property
    def products(self) -> int:
        """Products of one window, those with what fills groups up included."""
        return math.prod(self.steps) * self.chunks * self.group


def plan_rows(window: Window, channels: int, groups: GroupPlan, group: int) -> RowPlan:
    """Join the pixels of a row where a window reads all their channels side by side.

    Parameters
    ----------
    window : Window
    channels : int
        Of a pixel.
    groups : GroupPlan
        Says which channels a block of outputs reads.
    group : int
        Numbers that are multiplied at once.
    """
    if groups.step == 0 and window.dilation[-1] == 1:
        return RowPlan(window.kernel[:-1], window.kernel[-1] * channels, group)
    return RowPlan(window.kernel, groups.size, group)


def plan_planes(window: Window, channels: int, group: int) -> RowPlan | None:
    """Take the rows of an image where they lie, plane by plane; None if that fills groups badly.

    Parameters
    ----------
    window : Window
    channels : int
        Of the image.
    group : int
        Numbers that are multiplied at once.
    """
    *outer, width = window.kernel
    planes = RowPlan((channels, *outer), width, group)
    joined = plan_rows(window, channels, GroupPlan(0, 1, channels), group)
    # A seven-by-seven window of three bytes fills as many groups either way.
    fits = planes.products <= _MOST_PLANE_PRODUCTS * joined.products
    return planes if fits and window.dilation[-1] == 1 else None


def dot_conv(
    data: te.Tensor,
    weight: te.Tensor,
    window: Window,
    border: float,
    groups: GroupPlan,
    dot: DotType,
) -> te.Tensor:
    """Convolve (N, ..., C) with blocked filters, in one to three dimensions.

    Parameters
    ----------
    data : te.Tensor
        (N, *extents, C) of ``dot.data``.
    weight : te.Tensor
        (output blocks, *steps, chunks, lanes, group) of ``dot.weight``, as `plan_rows` says.
    window : Window
    border : int or float
        What the padding holds, as stored.
    groups : GroupPlan
        Says which channels a block of outputs reads.
    dot : DotType

    Returns
    -------
    te.Tensor
        (N, *positions, output blocks, lanes) of ``dot.sum``.
    """
    *_, channels = (int(extent) for extent in data.shape)
    plan = plan_rows(window, channels, groups, dot.group)
    at = _row_reader(data, window, border, groups, plan)
    joined = [0] * (len(window.kernel) - len(plan.steps))
    blocks = int(weight.shape[0])

    def number(n: Expr, position: list[Expr], block: Expr, steps: list[Expr], k: Expr) -> Expr:
        return at(n, window.place(position, [*steps, *joined]), groups.first(block, blocks) + k)

    return _sum_products(number, tuple(map(int, data.shape[:-1])), weight, window, plan, dot)


def dot_planes(
    data: Element, shape: Extents, weight: te.Tensor, window: Window, border: float, dot: DotType
) -> te.Tensor:
    """Convolve what is computed element by element, such as an image in planes.

    Parameters
    ----------
    data : callable
        Gives the number at an index (N, *extents, C), as ``dot.data``.
    shape : tuple of int
        (N, *extents, C).
    weight : te.Tensor
        (output blocks, *steps, chunks, lanes, group) of ``dot.weight``, as `plan_planes` says.
    window, border, dot
        As `dot_conv` takes them, and it returns what that returns.
    """
    plan = plan_planes(window, shape[-1], dot.group)
    assert plan is not None
    # What the last group reads beyond the padding, and then whole vectors.
    beyond = plan.chunks * plan.group - plan.run
    beyond += -(shape[-2] + window.before[-1] + window.after[-1] + beyond) % _PLANE_LANES
    after = (*window.after[:-1], window.after[-1] + beyond)
    wide = dataclasses.replace(window, padding=(*window.before, *after))
    planes = gather(data, shape, wide, tirx.const(border, dot.data))

    def number(n: Expr, position: list[Expr], _: Expr, steps: list[Expr], k: Expr) -> Expr:
        channel, *inner = steps
        *place, x = window.place(position, [*inner, 0])
        return planes(n, channel, *place, x + k)

    return _sum_products(number, shape[:-1], weight, window, plan, dot)


_Number = Callable[[Expr, list[Expr], Expr, list[Expr], Expr], Expr]
"""Gives a number of a window: image, position, block of outputs, steps, place in the run."""


def _sum_products(
    number: _Number, shape: Extents, weight: te.Tensor, window: Window, plan: RowPlan, dot: DotType
) -> te.Tensor:
    """Sum the products of each window of data of (N, *extents) pixels."""
    batch, *extents = shape
    positions = window.output_size(tuple(extents))
    blocks, lanes = int(weight.shape[0]), int(weight.shape[-2])
    axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(plan.steps)]
    chunk = te.reduce_axis((0, plan.chunks), "chunk")
    part = te.reduce_axis((0, dot.group), "part")

    def sum_products(*index: Expr) -> Expr:
        n, *position, block, lane = index
        read = number(n, position, block, axes, chunk * dot.group + part)
        product = dot.product(read, weight(block, *axes, chunk, lane, part))
        return te.sum(product, axis=[*axes, chunk, part])

    return te.compute((batch, *positions, blocks, lanes), sum_products, name=ACCUMULATE)


def dot_dense(data: te.Tensor, weight: te.Tensor, dot: DotType) -> te.Tensor:
    """Multiply (N, inputs) by (output blocks, chunks, lanes, group).

    Returns
    -------
    te.Tensor
        (N, output blocks, lanes) of ``dot.sum``.
    """
    blocks, chunks, lanes, group = (int(extent) for extent in weight.shape)
    rows, inputs = (int(extent) for extent in data.shape)
    length = chunks * group
    filled = data if inputs == length else _fill_up(data, length)
    chunk, part = te.reduce_axis((0, chunks), "chunk"), te.reduce_axis((0, group), "part")

    def sum_products(n: Expr, block: Expr, lane: Expr) -> Expr:
        product = dot.product(filled(n, chunk * group + part), weight(block, chunk, lane, part))
        return te.sum(product, axis=[chunk, part])

    return te.compute((rows, blocks, lanes), sum_products, name=ACCUMULATE)


def _fill_up(data: te.Tensor, length: int) -> te.Tensor:
    """Fill rows up with zeros."""
    zero = tirx.const(0, str(data.dtype))

    def number(n: Expr, k: Expr) -> Expr:
        return tirx.if_then_else(k < data.shape[1], data(n, k), zero)

    return te.compute((data.shape[0], length), number, name=PADDED)


Reader = Callable[[Expr, list[Expr], Expr], Expr]


def _row_reader(
    data: te.Tensor, window: Window, border: float, groups: GroupPlan, plan: RowPlan
) -> Reader:
    """Return what reads a number at a pixel and an offset from its first channel.

    Rows are read where they are unless they need a border, joined pixels, or something to read
    behind their last number.
    """
    channels = int(data.shape[-1])
    stays_inside = plan.run % plan.group == 0 and plan.run <= channels
    if stays_inside and not window.is_padded:
        return lambda n, place, offset: data(n, *place, offset)
    rows = _join_rows(data, window, border, _row_length(data, window, groups, plan))
    return lambda n, place, offset: rows(n, *place[:-1], place[-1] * channels + offset)


def _row_length(data: te.Tensor, window: Window, groups: GroupPlan, plan: RowPlan) -> int:
    """Count the numbers of a row: its pixels, or what the last group reads beyond them."""
    *_, extent, channels = (int(extent) for extent in data.shape)
    width = extent + window.before[-1] + window.after[-1]
    positions = (width - window.spans[-1]) // window.strides[-1] + 1
    last_step = window.spans[-1] - 1 if len(plan.steps) == len(window.kernel) else 0
    pixel = (positions - 1) * window.strides[-1] + last_step
    last_run = pixel * channels + groups.step * (groups.runs - 1)
    return max(width * channels, last_run + plan.chunks * plan.group)


def _join_rows(data: te.Tensor, window: Window, border: float, length: int) -> te.Tensor:
    """Copy (N, *extents, C) into rows of joined pixels, (N, *extents but the last, length)."""
    batch, *outer, extent, channels = (int(extent) for extent in data.shape)
    outside = tirx.const(border, str(data.dtype))
    *low, left = window.before
    first, end = left * channels, (left + extent) * channels

    def number(*index: Expr) -> Expr:
        n, *place, at = index
        inside = [
            condition
            for i, before, size in zip(place, low, outer, strict=True)
            for condition in (i >= before, i < size + before)
            if window.is_padded
        ]
        shifted = [i - before for i, before in zip(place, low, strict=True)]
        pixel, channel = (at - first) // channels, (at - first) % channels
        inside += [at >= first, at < end] if (first, end) != (0, length) else []
        copied = data(n, *shifted, pixel, channel)
        return tirx.if_then_else(tirx.all(*inside), copied, outside) if inside else copied

    sizes = zip(low, outer, window.after, strict=False)
    padded = [before + size + after for before, size, after in sizes]
    return te.compute((batch, *padded, length), number, name=PADDED)
