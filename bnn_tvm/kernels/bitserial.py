"""Binary convolution, dense layer and pooling on packed bits, one bit plane each.

All accumulate the number of positions at which activations and weights disagree, m. The dot
product of the vectors of -1 and +1 is ``K - 2 m``, K the number of positions.
"""

from __future__ import annotations

from tvm import te, tirx
from tvm.ir import Expr

from .bits import word_dtype
from .geometry import Window
from .stages import ACCUMULATE, PADDED


def pad_words(data: te.Tensor, window: Window, channels: int, bit: int) -> te.Tensor:
    """Surround packed activations with pixels whose channels are all -1 or all +1.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, words).
    window : Window
        Gives the padding.
    channels : int
        Bits in use; those past them stay 0.
    bit : int
        0 pads with -1, 1 pads with +1.
    """
    if not window.is_padded:
        return data
    batch, height, width, words = (int(extent) for extent in data.shape)
    top, left, bottom, right = window.padding
    dtype = str(data.dtype)
    word_bits = int(dtype.removeprefix("uint"))

    def border(word: Expr) -> Expr:
        ones = tirx.const((1 << word_bits) - 1 if bit else 0, dtype)
        full, rest = divmod(channels, word_bits)
        tail = tirx.const((1 << rest) - 1 if bit else 0, dtype)
        if not bit or full == words:
            return ones
        past = tirx.Select(word == full, tail, tirx.const(0, dtype))
        return tirx.Select(word < full, ones, past)

    def pixel(n: tirx.Var, y: tirx.Var, x: tirx.Var, word: tirx.Var) -> Expr:
        inside = tirx.all(y >= top, y < height + top, x >= left, x < width + left)
        return tirx.if_then_else(inside, data[n, y - top, x - left, word], border(word))

    shape = (batch, height + top + bottom, width + left + right, words)
    return te.compute(shape, pixel, name=PADDED)


def disagreements(a: Expr, b: Expr) -> Expr:
    """Count the positions at which two words hold different bits, as int32."""
    return tirx.popcount(a ^ b).astype("int32")


def bitserial_conv2d(
    data: te.Tensor, weight: te.Tensor, window: Window, channels: int, pad_bit: int
) -> te.Tensor:
    """Count disagreements of each window with each filter.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, words) packed activations.
    weight : te.Tensor
        (output blocks, KH, KW, words, lanes) packed weights.
    window : Window
    channels : int
        Input channels, of which `data` holds the bits.
    pad_bit : int
        0 pads with -1 (BMXNet v2), 1 with +1 (BMXNet v1).

    Returns
    -------
    te.Tensor
        (N, OH, OW, output blocks, lanes) int32.
    """
    blocks, kernel_h, kernel_w, words, lanes = (int(extent) for extent in weight.shape)
    rows, columns = window.output_size(int(data.shape[1]), int(data.shape[2]))
    padded = pad_words(data, window, channels, pad_bit)
    ky, kx = te.reduce_axis((0, kernel_h), "ky"), te.reduce_axis((0, kernel_w), "kx")
    kw = te.reduce_axis((0, words), "kw")
    (stride_h, stride_w), (dilate_h, dilate_w) = window.strides, window.dilation

    def count(n: tirx.Var, y: tirx.Var, x: tirx.Var, block: tirx.Var, lane: tirx.Var) -> Expr:
        pixel = padded[n, y * stride_h + ky * dilate_h, x * stride_w + kx * dilate_w, kw]
        return te.sum(disagreements(pixel, weight[block, ky, kx, kw, lane]), axis=[ky, kx, kw])

    return te.compute((data.shape[0], rows, columns, blocks, lanes), count, name=ACCUMULATE)


def bitserial_dense(data: te.Tensor, weight: te.Tensor) -> te.Tensor:
    """Count disagreements of each row with each unit's weights.

    Parameters
    ----------
    data : te.Tensor
        (N, ..., words) packed activations; all axes but the first are inputs.
    weight : te.Tensor
        (output blocks, ..., words, lanes) packed weights.

    Returns
    -------
    te.Tensor
        (N, output blocks, lanes) int32.
    """
    blocks, *inputs, lanes = (int(extent) for extent in weight.shape)
    axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(inputs)]

    def count(n: tirx.Var, block: tirx.Var, lane: tirx.Var) -> Expr:
        return te.sum(disagreements(data(n, *axes), weight(block, *axes, lane)), axis=axes)

    return te.compute((data.shape[0], blocks, lanes), count, name=ACCUMULATE)


def bitserial_max_pool2d(data: te.Tensor, window: Window) -> te.Tensor:
    """Take the maximum of each window of packed signs: the OR of its words.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, words) packed activations; padding is -1, which never is a maximum.

    Returns
    -------
    te.Tensor
        (N, OH, OW, words).
    """
    batch, height, width, words = (int(extent) for extent in data.shape)
    rows, columns = window.output_size(height, width)
    padded = pad_words(data, window, 0, 0)
    ky, kx = (te.reduce_axis((0, k), name) for k, name in zip(window.kernel, "yx", strict=True))
    (stride_h, stride_w), (dilate_h, dilate_w) = window.strides, window.dilation
    dtype = word_dtype(int(str(data.dtype).removeprefix("uint")))
    bitwise_or = te.comm_reducer(lambda a, b: a | b, lambda _: tirx.const(0, dtype), name="or")

    def largest(n: tirx.Var, y: tirx.Var, x: tirx.Var, word: tirx.Var) -> Expr:
        pixel = padded[n, y * stride_h + ky * dilate_h, x * stride_w + kx * dilate_w, word]
        return bitwise_or(pixel, axis=[ky, kx])

    return te.compute((batch, rows, columns, words), largest, name=ACCUMULATE)
