"""Layers and pooling on packed bits, one or more bit planes each.

Activations of P planes and weights of Q planes are sums of ``2**p`` and ``2**q`` times vectors of
bits. All layers accumulate the positions at which two planes disagree, weighted:
``M = sum over p, q of 2**(p + q) * popcount(a_p ^ w_q)``. What the dot product is of M says
`layer_weights.PackedWeight`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import te, tirx
from tvm.ir import Expr

from .border import read_windows
from .floating import pool
from .geometry import Extents, Window
from .groups import GroupPlan
from .integers import Integers
from .popcount_sums import Planes, sum_popcounts


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
    *,
    skipped: Sequence[bool],
    carry_save: bool = False,
) -> Integers:
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
    skipped : sequence of bool
        Along which axes no padding is read; `passes.skipped_border` adds what it counts for.
    carry_save : bool
        Whether to count words two at a time.

    Returns
    -------
    Integers
        Elements of (N, *positions, output blocks, lanes) int32.
    """
    blocks, *kernel, weight_words, lanes = (int(extent) for extent in weight.shape)
    batch, *extents, data_words = (int(extent) for extent in data.shape)
    pixels = read_windows(data, window, border, skipped)
    words, pixel_words = weight_words // planes.weight, data_words // planes.data

    def disagree(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        n, *position, block, lane = index
        *steps, p, q, word = k

        def differ(pixel: Expr) -> Expr:
            bits = pixel ^ weight(block, *steps, q * words + word, lane)
            return bits if mask is None else bits & mask[block, word, lane]

        at = p * pixel_words + groups.first(block, blocks) + word
        return pixels.combine(n, position, steps, at, differ)

    shape = (batch, *window.output_size(tuple(extents)), blocks, lanes)
    dtype = str(data.dtype)
    return sum_popcounts(dtype, shape, tuple(kernel), planes, words, disagree, carry_save)


def bitserial_dense(
    data: te.Tensor, weight: te.Tensor, planes: Planes, *, carry_save: bool = False
) -> Integers:
    """Count weighted disagreements of each row with each unit's weights.

    Parameters
    ----------
    data : te.Tensor
        (N, ..., planes * words) packed activations; all axes but the first are inputs.
    weight : te.Tensor
        (output blocks, ..., planes * words, lanes) packed weights.
    planes : Planes
    carry_save : bool
        Whether to count words two at a time.

    Returns
    -------
    Integers
        Elements of (N, output blocks, lanes) int32.
    """
    blocks, *inputs, weight_words, lanes = (int(extent) for extent in weight.shape)
    words = weight_words // planes.weight

    def disagree(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        n, block, lane = index
        *place, p, q, word = k
        return data(n, *place, p * words + word) ^ weight(block, *place, q * words + word, lane)

    shape = (int(data.shape[0]), blocks, lanes)
    dtype = str(data.dtype)
    return sum_popcounts(dtype, shape, tuple(inputs), planes, words, disagree, carry_save)


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
