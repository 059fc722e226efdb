"""Float32 convolution, dense layer and pooling in the layouts that fit the binary ones."""

from __future__ import annotations

import math

from tvm import te, tirx
from tvm.ir import Expr

from .geometry import Window
from .stages import ACCUMULATE, PADDED


def pad_pixels(data: te.Tensor, window: Window, value: float) -> te.Tensor:
    """Surround (N, H, W, C) float32 with pixels of one value."""
    if not window.is_padded:
        return data
    batch, height, width, channels = (int(extent) for extent in data.shape)
    top, left, bottom, right = window.padding
    border = tirx.const(value, "float32")

    def pixel(n: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> Expr:
        inside = tirx.all(y >= top, y < height + top, x >= left, x < width + left)
        return tirx.if_then_else(inside, data[n, y - top, x - left, c], border)

    shape = (batch, height + top + bottom, width + left + right, channels)
    return te.compute(shape, pixel, name=PADDED)


def conv2d(data: te.Tensor, weight: te.Tensor, window: Window, pad_value: float) -> te.Tensor:
    """Convolve (N, H, W, C) float32 with blocked filters.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, C).
    weight : te.Tensor
        (output blocks, KH, KW, C, lanes).
    window : Window
    pad_value : float
        What the padding holds.

    Returns
    -------
    te.Tensor
        (N, OH, OW, output blocks, lanes) float32.
    """
    blocks, kernel_h, kernel_w, channels, lanes = (int(extent) for extent in weight.shape)
    rows, columns = window.output_size(int(data.shape[1]), int(data.shape[2]))
    padded = pad_pixels(data, window, pad_value)
    ky, kx = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx")
    kc = te.reduce_axis((0, channels), "kc")
    (stride_h, stride_w), (dilate_h, dilate_w) = window.strides, window.dilation

    def dot(n: tirx.Var, y: tirx.Var, x: tirx.Var, block: tirx.Var, lane: tirx.Var) -> Expr:
        pixel = padded[n, y * stride_h + ky * dilate_h, x * stride_w + kx * dilate_w, kc]
        return te.sum(pixel * weight[block, ky, kx, kc, lane], axis=[ky, kx, kc])

    return te.compute((data.shape[0], rows, columns, blocks, lanes), dot, name=ACCUMULATE)


def dense(data: te.Tensor, weight: te.Tensor) -> te.Tensor:
    """Multiply (N, inputs) float32 by (output blocks, inputs, lanes).

    Returns
    -------
    te.Tensor
        (N, output blocks, lanes) float32.
    """
    blocks, inputs, lanes = (int(extent) for extent in weight.shape)
    k = te.reduce_axis((0, inputs), "k")

    def dot(n: tirx.Var, block: tirx.Var, lane: tirx.Var) -> Expr:
        return te.sum(data[n, k] * weight[block, k, lane], axis=[k])

    return te.compute((data.shape[0], blocks, lanes), dot, name=ACCUMULATE)


def max_pool2d(data: te.Tensor, window: Window, rows: int, columns: int) -> te.Tensor:
    """Take the maximum of each window of (N, H, W, C); padding is -inf.

    Parameters
    ----------
    rows, columns : int
        Of the output; the last windows may reach past the padding.
    """
    return _pool(data, window, (rows, columns), -math.inf, te.max)


def avg_pool2d(
    data: te.Tensor, window: Window, rows: int, columns: int, count_padding: bool
) -> tuple[te.Tensor, Expr]:
    """Sum each window of (N, H, W, C) and say by what to divide.

    Returns
    -------
    te.Tensor
        (N, rows, columns, C) sums.
    callable
        Maps an output index (n, y, x, c) to the number of values averaged there.
    """
    height, width = int(data.shape[1]), int(data.shape[2])
    top, left, bottom, right = window.padding

    def extent(position: Expr, axis: int) -> Expr:
        before, size, after = ((top, height, bottom), (left, width, right))[axis]
        start = position * window.strides[axis] - before
        low, high = (-before, size + after) if count_padding else (0, size)
        end = tirx.min(start + window.kernel[axis], high)
        return end - tirx.max(start, low)

    def divisor(n: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> Expr:
        return (extent(y, 0) * extent(x, 1)).astype("float32")

    return _pool(data, window, (rows, columns), 0.0, te.sum), divisor


def _pool(
    data: te.Tensor, window: Window, size: tuple[int, int], outside: float, reducer: te.max
) -> te.Tensor:
    batch, channels = data.shape[0], data.shape[3]
    ky, kx = (te.reduce_axis((0, k), name) for k, name in zip(window.kernel, "yx", strict=True))
    (stride_h, stride_w), (dilate_h, dilate_w) = window.strides, window.dilation
    reach = window.reaching(*size, int(data.shape[1]), int(data.shape[2]))
    padded = pad_pixels(data, reach, outside)

    def pooled(n: tirx.Var, y: tirx.Var, x: tirx.Var, c: tirx.Var) -> Expr:
        pixel = padded[n, y * stride_h + ky * dilate_h, x * stride_w + kx * dilate_w, c]
        return reducer(pixel, axis=[ky, kx])

    return te.compute((batch, *size, channels), pooled, name=ACCUMULATE)
