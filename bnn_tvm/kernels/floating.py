"""Float32 convolution, dense layer and pooling in the layouts that fit the binary ones."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import te, tirx
from tvm.ir import Expr

from .bf16 import from_bf16
from .border import Element, gather, surround
from .geometry import Extents, Window
from .groups import GroupPlan
from .stages import ACCUMULATE


def _surround(data: te.Tensor, window: Window, value: float) -> te.Tensor:
    return surround(data, window, lambda _: tirx.const(value, "float32"))


def conv(
    data: te.Tensor, weight: te.Tensor, window: Window, pad_value: float, groups: GroupPlan
) -> te.Tensor:
    """Convolve (N, ..., C) float32 with blocked filters, in one to three dimensions.

    Parameters
    ----------
    data : te.Tensor
        (N, *extents, C).
    weight : te.Tensor
        (output blocks, *kernel, C of a block, lanes).
    window : Window
    pad_value : float
        What the padding holds.
    groups : GroupPlan
        Says which channels a block of outputs reads.

    Returns
    -------
    te.Tensor
        (N, *positions, output blocks, lanes) float32.
    """
    padded = _surround(data, window, pad_value)
    batch, *extents, _ = (int(extent) for extent in data.shape)
    return _convolve(padded, (batch, *extents), weight, window, groups)


def gathered_conv(
    data: Element,
    shape: Extents,
    weight: te.Tensor,
    window: Window,
    pad_value: float,
    groups: GroupPlan,
    by_planes: bool = False,
) -> te.Tensor:
    """Convolve what is computed element by element, such as an image in planes.

    Parameters
    ----------
    data : callable
        Gives the float32 at an index (N, *extents, C).
    shape : tuple of int
        (N, *extents, C).
    weight, window, pad_value, groups
        As `conv` takes them, and it returns what that returns.
    by_planes : bool
        Whether one plane is summed after the other. Then the weights are
        (output blocks, C of a block, *kernel, lanes).
    """
    padded = gather(data, shape, window, tirx.const(pad_value, "float32"))

    def pixel(n: Expr, *index: Expr) -> Expr:
        *place, channel = index
        return padded(n, channel, *place)

    return _convolve(pixel, shape[:-1], weight, window, groups, by_planes)


def _convolve(
    padded: Element,
    shape: Extents,
    weight: te.Tensor,
    window: Window,
    groups: GroupPlan,
    by_planes: bool = False,
) -> te.Tensor:
    """Convolve padded data, of (N, *extents) pixels without the padding."""
    blocks, *kernel, lanes = (int(extent) for extent in weight.shape)
    channels = kernel.pop(0 if by_planes else -1)
    batch, *extents = shape
    steps = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(kernel)]
    channel = te.reduce_axis((0, channels), "kc")
    summed = [channel, *steps] if by_planes else [*steps, channel]

    def dot(*index: Expr) -> Expr:
        n, *position, block, lane = index
        pixel = padded(n, *window.place(position, steps), groups.first(block, blocks) + channel)
        return te.sum(pixel * weight(block, *summed, lane), axis=summed)

    positions = window.output_size(tuple(extents))
    return te.compute((batch, *positions, blocks, lanes), dot, name=ACCUMULATE)


def dense(data: te.Tensor, weight: te.Tensor) -> te.Tensor:
    """Multiply (N, inputs) float32 by (output blocks, inputs, lanes).

    Weights are float32, or bfloat16 as ``uint16``.

    Returns
    -------
    te.Tensor
        (N, output blocks, lanes) float32.
    """
    blocks, inputs, lanes = (int(extent) for extent in weight.shape)
    k = te.reduce_axis((0, inputs), "k")
    number = from_bf16 if str(weight.dtype) == "uint16" else lambda stored: stored

    def dot(n: tirx.Var, block: tirx.Var, lane: tirx.Var) -> Expr:
        return te.sum(data[n, k] * number(weight[block, k, lane]), axis=[k])

    return te.compute((data.shape[0], blocks, lanes), dot, name=ACCUMULATE)


def max_pool(data: te.Tensor, window: Window, positions: Extents) -> te.Tensor:
    """Take the maximum of each window of (N, *extents, C); padding is -inf.

    Parameters
    ----------
    data : te.Tensor
    window : Window
    positions : tuple of int
        Of the window; the last may reach past the padding.
    """
    return pool(data, window, positions, te.max, lambda _: tirx.const(-math.inf, "float32"))


def avg_pool(
    data: te.Tensor,
    window: Window,
    positions: Extents,
    count_padding: bool,
    stage: str = ACCUMULATE,
) -> tuple[te.Tensor, Callable[..., Expr]]:
    """Sum each window of (N, *extents, C), in a stage of that name, and say by what to divide.

    Returns
    -------
    te.Tensor
        (N, *positions, C) sums.
    callable
        Maps an output index to the number of values averaged there, as float32.
    """
    extents = [int(extent) for extent in data.shape[1:-1]]

    def count(position: Expr, axis: int) -> Expr:
        before, size, after = window.before[axis], extents[axis], window.after[axis]
        step, length = window.strides[axis], window.kernel[axis]
        low, high = (-before, size + after) if count_padding else (0, size)
        if low <= -before and (positions[axis] - 1) * step - before + length <= high:
            return tirx.const(length, "int32")
        start = position * step - before
        return tirx.min(start + length, high) - tirx.max(start, low)

    def divisor(*index: Expr) -> Expr:
        counts = [count(position, axis) for axis, position in enumerate(index[1:-1])]
        return math.prod(counts[1:], start=counts[0]).astype("float32")

    sums = pool(data, window, positions, te.sum, lambda _: tirx.const(0, "float32"), stage)
    return sums, divisor


def pool(
    data: te.Tensor,
    window: Window,
    positions: Extents,
    reducer: Callable[..., Expr],
    border: Callable[[Expr], Expr],
    stage: str = ACCUMULATE,
) -> te.Tensor:
    """Reduce each window of (N, *extents, C or words)."""
    batch, *extents, last = (int(extent) for extent in data.shape)
    padded = surround(data, window.reaching(positions, tuple(extents)), border)
    steps = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(window.kernel)]

    def reduced(*index: Expr) -> Expr:
        n, *position, channel = index
        return reducer(padded(n, *window.place(position, steps), channel), axis=steps)

    return te.compute((batch, *positions, last), reduced, name=stage)
