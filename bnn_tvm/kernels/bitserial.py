"""Binary convolution, dense layer and pooling on packed bits, one bit plane each.

All accumulate the number of positions at which activations and weights disagree, m. The dot
product of the vectors of -1 and +1 is ``K - 2 m``, K the number of positions.
"""

from __future__ import annotations

from collections.abc import Callable

from tvm import te, tirx
from tvm.ir import Expr

from .geometry import Window
from .stages import ACCUMULATE, PADDED, PARTIAL

# A byte holds 255; each pair of bytes disagrees in at most 8 bits.
_BYTES_IN_A_BYTE = 31


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


def _sum_disagreements(
    word_dtype: str,
    shape: tuple[int, ...],
    axes: list[tuple[str, int]],
    pair: Callable[[tuple[Expr, ...], list[Expr]], tuple[Expr, Expr]],
) -> te.Tensor:
    """Sum the disagreements of pairs of words over reduction axes.

    Bytes are summed in bytes first, as many as surely fit, and those sums in int32: a vector
    holds four times as many bytes as it holds 32-bit numbers.

    Parameters
    ----------
    word_dtype : str
    shape : tuple of int
        Of the result.
    axes : list of (name, extent)
        The reduction, outermost first.
    pair : callable
        Gives the two words at an index of the result and of the reduction.
    """
    if word_dtype != "uint8":
        reduced = [te.reduce_axis((0, extent), name) for name, extent in axes]
        return te.compute(
            shape,
            lambda *index: te.sum(_disagreements(*pair(index, reduced), "int32"), axis=reduced),
            name=ACCUMULATE,
        )
    outer, inner = _split_for_bytes([extent for _, extent in axes])
    steps = [te.reduce_axis((0, n), name) for n, (name, _) in zip(inner, axes, strict=True)]

    def partial(*index: Expr) -> Expr:
        spatial, chunks = index[: len(shape)], index[len(shape) :]
        k = [chunk * n + step for chunk, n, step in zip(chunks, inner, steps, strict=True)]
        return te.sum(_disagreements(*pair(spatial, k), "uint8"), axis=steps)

    partials = te.compute((*shape, *outer), partial, name=PARTIAL)
    chunks = [te.reduce_axis((0, n), name) for n, (name, _) in zip(outer, axes, strict=True)]
    return te.compute(
        shape,
        lambda *index: te.sum(partials(*index, *chunks).astype("int32"), axis=chunks),
        name=ACCUMULATE,
    )


def _split_for_bytes(extents: list[int]) -> tuple[list[int], list[int]]:
    """Split reduction axes so that the inner parts sum without overflow in a byte."""
    room = _BYTES_IN_A_BYTE
    outer, inner = [], []
    for extent in reversed(extents):
        part = next(d for d in range(min(extent, room), 0, -1) if extent % d == 0)
        room = room // part if part == extent else 1
        outer.append(extent // part)
        inner.append(part)
    return outer[::-1], inner[::-1]


def _disagreements(a: Expr, b: Expr, dtype: str) -> Expr:
    """Count the positions at which two words hold different bits."""
    return tirx.popcount(a ^ b).astype(dtype)


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
    (stride_h, stride_w), (dilate_h, dilate_w) = window.strides, window.dilation

    def pair(index: tuple[Expr, ...], k: list[Expr]) -> tuple[Expr, Expr]:
        (n, y, x, block, lane), (ky, kx, word) = index, k
        pixel = padded[n, y * stride_h + ky * dilate_h, x * stride_w + kx * dilate_w, word]
        return pixel, weight[block, ky, kx, word, lane]

    shape = (int(data.shape[0]), rows, columns, blocks, lanes)
    axes = [("ky", kernel_h), ("kx", kernel_w), ("kw", words)]
    return _sum_disagreements(str(data.dtype), shape, axes, pair)


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

    def pair(index: tuple[Expr, ...], k: list[Expr]) -> tuple[Expr, Expr]:
        n, block, lane = index
        return data(n, *k), weight(block, *k, lane)

    axes = [(f"k{i}", extent) for i, extent in enumerate(inputs)]
    return _sum_disagreements(str(data.dtype), (int(data.shape[0]), blocks, lanes), axes, pair)


def bitserial_max_pool2d(data: te.Tensor, window: Window, rows: int, columns: int) -> te.Tensor:
    """Take the maximum of each window of packed signs: the OR of its words.

    Parameters
    ----------
    data : te.Tensor
        (N, H, W, words) packed activations; padding is -1, which never is a maximum.
    window : Window
    rows, columns : int
        Of the output; the last windows may reach past the padding.

    Returns
    -------
    te.Tensor
        (N, OH, OW, words).
    """
    batch, height, width, words = (int(extent) for extent in data.shape)
    padded = pad_words(data, window.reaching(rows, columns, height, width), 0, 0)
    ky, kx = (te.reduce_axis((0, k), name) for k, name in zip(window.kernel, "yx", strict=True))
    (stride_h, stride_w), (dilate_h, dilate_w) = window.strides, window.dilation
    dtype = str(data.dtype)
    bitwise_or = te.comm_reducer(lambda a, b: a | b, lambda _: tirx.const(0, dtype), name="or")

    def largest(n: tirx.Var, y: tirx.Var, x: tirx.Var, word: tirx.Var) -> Expr:
        pixel = padded[n, y * stride_h + ky * dilate_h, x * stride_w + kx * dilate_w, word]
        return bitwise_or(pixel, axis=[ky, kx])

    return te.compute((batch, rows, columns, words), largest, name=ACCUMULATE)
