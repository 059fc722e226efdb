"""Layers and pooling on packed bits, one or more bit planes each.

Activations of P planes and weights of Q planes are sums of ``2**p`` and ``2**q`` times vectors of
bits. All layers accumulate the positions at which two planes disagree, weighted:
``M = sum over p, q of 2**(p + q) * popcount(a_p ^ w_q)``. What the dot product is of M says
`dot_of_disagreements`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm import te, tirx
from tvm.ir import Expr

from .border import surround
from .floating import pool
from .geometry import Extents, Window
from .groups import GroupPlan
from .stages import ACCUMULATE, PARTIAL

# A byte holds 255; each pair of bytes disagrees in at most 8 bits.
_BYTES_IN_A_BYTE = 31

Pair = Callable[[tuple[Expr, ...], list[Expr]], Expr]


@dataclass(frozen=True)
class Planes:
    """Bit planes of the operands of a layer.

    Attributes
    ----------
    data, weight : int
        How many the activations and the weights have.
    """

    data: int = 1
    weight: int = 1


def border_word(channels: int, word_bits: int, words: int, bit: int) -> Callable[[Expr], Expr]:
    """Make the words of a pixel whose channels are all -1 or all +1, in every plane.

    Parameters
    ----------
    channels : int
        Bits in use; those past them stay 0.
    word_bits : int
    words : int
        Of one plane.
    bit : int
        0 for -1, 1 for +1.
    """
    dtype = f"uint{word_bits}"
    zero, ones = tirx.const(0, dtype), tirx.const((1 << word_bits) - 1, dtype)
    full, rest = divmod(channels, word_bits)
    tail = tirx.const((1 << rest) - 1, dtype)

    def word(index: Expr) -> Expr:
        if not bit or full == words:
            return ones if bit else zero
        place = index % words
        return tirx.Select(place < full, ones, tirx.Select(place == full, tail, zero))

    return word


def bitserial_conv(
    data: te.Tensor,
    weight: te.Tensor,
    window: Window,
    planes: Planes,
    groups: GroupPlan,
    border: Callable[[Expr], Expr],
    mask: te.Tensor | None = None,
) -> te.Tensor:
    """Count weighted disagreements of each window with each filter, in one to three dimensions.

    Parameters
    ----------
    data : te.Tensor
        (N, *extents, planes * words) packed activations.
    weight : te.Tensor
        (output blocks, *kernel, planes * words of a block, lanes) packed weights.
    window : Window
    planes : Planes
    groups : GroupPlan
        Says which words a block of outputs reads.
    border : callable
        Gives the word of the padding at a word of a pixel.
    mask : te.Tensor, optional
        (output blocks, words of a block, lanes): the bits that an output reads, if not all.

    Returns
    -------
    te.Tensor
        (N, *positions, output blocks, lanes) int32.
    """
    blocks, *kernel, weight_words, lanes = (int(extent) for extent in weight.shape)
    batch, *extents, data_words = (int(extent) for extent in data.shape)
    padded = surround(data, window, border)
    words, pixel_words = weight_words // planes.weight, data_words // planes.data

    def disagree(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        n, *position, block, lane = index
        *steps, p, q, word = k
        at = p * pixel_words + groups.first(block, blocks) + word
        pixel = padded(n, *window.place(position, steps), at)
        bits = pixel ^ weight(block, *steps, q * words + word, lane)
        return bits if mask is None else bits & mask[block, word, lane]

    shape = (batch, *window.output_size(tuple(extents)), blocks, lanes)
    return _sum_popcounts(str(data.dtype), shape, tuple(kernel), planes, words, disagree)


def bitserial_dense(data: te.Tensor, weight: te.Tensor, planes: Planes) -> te.Tensor:
    """Count weighted disagreements of each row with each unit's weights.

    Parameters
    ----------
    data : te.Tensor
        (N, ..., planes * words) packed activations; all axes but the first are inputs.
    weight : te.Tensor
        (output blocks, ..., planes * words, lanes) packed weights.
    planes : Planes

    Returns
    -------
    te.Tensor
        (N, output blocks, lanes) int32.
    """
    blocks, *inputs, weight_words, lanes = (int(extent) for extent in weight.shape)
    words = weight_words // planes.weight

    def disagree(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        n, block, lane = index
        *place, p, q, word = k
        return data(n, *place, p * words + word) ^ weight(block, *place, q * words + word, lane)

    shape = (int(data.shape[0]), blocks, lanes)
    return _sum_popcounts(str(data.dtype), shape, tuple(inputs), planes, words, disagree)


def _sum_popcounts(
    word_dtype: str, shape: Extents, inner: Extents, planes: Planes, words: int, disagree: Pair
) -> te.Tensor:
    """Sum the popcounts of words over places, planes and words.

    Bytes are summed in bytes first, as many as surely fit, and those sums in int32: a vector
    holds four times as many bytes as it holds 32-bit numbers. Several planes are summed one after
    the other, so that a count is multiplied once for a plane and not once for a word.

    Parameters
    ----------
    word_dtype : str
    shape : tuple of int
        Of the result.
    inner : tuple of int
        Places summed over, such as those of a filter.
    planes : Planes
    words : int
        Of one plane.
    disagree : callable
        Gives the word of differing bits at an index of the result and of the reduction: places,
        planes, word.
    """
    extents = [*inner, planes.data, planes.weight, words]
    if word_dtype != "uint8" and planes == Planes():
        axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(extents)]
        return te.compute(
            shape,
            lambda *index: te.sum(tirx.popcount(disagree(index, axes)).astype("int32"), axis=axes),
            name=ACCUMULATE,
        )
    sum_dtype = "uint8" if word_dtype == "uint8" else "int32"
    chunks, steps = _split_sum(extents, _BYTES_IN_A_BYTE if sum_dtype == "uint8" else None)
    partials = _partial_sums(shape, chunks, steps, disagree, sum_dtype)
    axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(chunks)]
    weigh = _plane_weight(planes, axes[-3], axes[-2])
    return te.compute(
        shape, lambda *index: te.sum(weigh(partials(*index, *axes)), axis=axes), name=ACCUMULATE
    )


def _plane_weight(planes: Planes, p: Expr, q: Expr) -> Callable[[Expr], Expr]:
    """Multiply a count by what its planes stand for."""
    if planes == Planes(1, 1):
        return lambda count: count.astype("int32")
    return lambda count: tirx.shift_left(count.astype("int32"), p + q)


def _partial_sums(
    shape: Extents, chunks: list[int], steps: list[int], disagree: Pair, dtype: str
) -> te.Tensor:
    """Sum each chunk of the reduction, all of the same planes."""
    axes = [te.reduce_axis((0, extent), f"s{i}") for i, extent in enumerate(steps)]

    def partial(*index: Expr) -> Expr:
        place, chunk = index[: len(shape)], index[len(shape) :]
        k = [c * n + step for c, n, step in zip(chunk, steps, axes, strict=True)]
        return te.sum(tirx.popcount(disagree(place, k)).astype(dtype), axis=axes)

    return te.compute((*shape, *chunks), partial, name=PARTIAL)


def _split_sum(extents: list[int], most: int | None) -> tuple[list[int], list[int]]:
    """Split reduction axes into chunks and the steps of one, each at most so many words.

    The planes before the last axis are summed apart, since their counts weigh differently.
    """
    room = math.prod(extents) if most is None else most
    chunks, steps = [], []
    for place, extent in enumerate(reversed(extents)):
        is_plane = place in (1, 2)
        part = 1 if is_plane else _largest_divisor(extent, room)
        room = room // part if part == extent or is_plane else 1
        chunks.append(extent // part)
        steps.append(part)
    return chunks[::-1], steps[::-1]


def _largest_divisor(number: int, at_most: int) -> int:
    return next(d for d in range(min(number, at_most), 0, -1) if number % d == 0)


def bitserial_max_pool(data: te.Tensor, window: Window, positions: Extents) -> te.Tensor:
    """Take the maximum of each window of packed signs: the OR of its words.

    Parameters
    ----------
    data : te.Tensor
        (N, *extents, words) packed activations; padding is -1, which never is a maximum.
    window : Window
    positions : tuple of int
        Of the window; the last may reach past the padding.

    Returns
    -------
    te.Tensor
        (N, *positions, words).
    """
    zero = tirx.const(0, str(data.dtype))
    bitwise_or = te.comm_reducer(lambda a, b: a | b, lambda _: zero, name="or")
    return pool(data, window, positions, bitwise_or, lambda _: zero)
