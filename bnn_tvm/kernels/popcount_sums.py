"""Sum the popcounts of words over a reduction, in the form that suits the processor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tvm import te, tirx
from tvm.ir import Expr

from .carry_save import come_in_pairs, count_pairs
from .geometry import Extents
from .integers import Integers
from .stages import ACCUMULATE, PARTIAL

# A byte holds 255; each pair of bytes disagrees in at most 8 bits.
_BYTES_IN_A_BYTE = 31
_LARGEST_UINT16 = 2**16 - 1

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


def sum_popcounts(
    word_dtype: str,
    shape: Extents,
    inner: Extents,
    planes: Planes,
    words: int,
    disagree: Pair,
    carry_save: bool,
) -> Integers:
    """Sum the popcounts of words over places, planes and words.

    Bytes are summed in bytes first, as many as surely fit, and those sums in 16 bits if all fit:
    a vector holds four times as many bytes as it holds 32-bit numbers. Several planes are summed
    one after the other, so that a count is multiplied once for a plane and not once for a word.

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
    carry_save : bool
        Whether to count wide words two at a time, where there is an even number of them.
    """
    extents = (*inner, planes.data, planes.weight, words)
    in_bytes = word_dtype == "uint8"
    carry_save = carry_save and not in_bytes and come_in_pairs(words)
    if not in_bytes and planes == Planes():
        if carry_save:
            return count_pairs(shape, extents, disagree, word_dtype, ACCUMULATE)
        return Integers(_count_words(shape, extents, disagree, "int32", ACCUMULATE))
    chunks, steps = split_sum(extents, _BYTES_IN_A_BYTE if in_bytes else None)

    def chunk_word(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        place, chunk = index[: len(shape)], index[len(shape) :]
        return disagree(place, [c * n + s for c, n, s in zip(chunk, steps, k, strict=True)])

    if carry_save:
        partials = count_pairs((*shape, *chunks), steps, chunk_word, word_dtype, PARTIAL)
    else:
        dtype = "uint8" if in_bytes else "int32"
        partials = Integers(_count_words((*shape, *chunks), steps, chunk_word, dtype, PARTIAL))
    narrow = in_bytes and planes == Planes() and math.prod(extents) * 8 <= _LARGEST_UINT16
    return weigh_and_sum(shape, chunks, planes, partials, "uint16" if narrow else "int32")


def _count_words(shape: Extents, inner: Extents, word: Pair, dtype: str, name: str) -> te.Tensor:
    axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(inner)]

    def count(*index: Expr) -> Expr:
        return te.sum(tirx.popcount(word(index, axes)).astype(dtype), axis=axes)

    return te.compute(shape, count, name=name)


def weigh_and_sum(
    shape: Extents, chunks: Extents, planes: Planes, partials: Integers, dtype: str
) -> Integers:
    """Sum partial counts, each multiplied by what its planes stand for."""
    axes = [te.reduce_axis((0, extent), f"c{i}") for i, extent in enumerate(chunks)]
    *_, p, q, _ = axes

    def weighed(*index: Expr) -> Expr:
        count = partials.count(*index, *axes).astype(dtype)
        return count if planes == Planes() else tirx.shift_left(count, p + q)

    sums = te.compute(shape, lambda *index: te.sum(weighed(*index), axis=axes), name=ACCUMULATE)
    *places, _, _, parts = chunks
    weight = math.prod(places) * parts * (2**planes.data - 1) * (2**planes.weight - 1)
    return Integers(
        lambda *index: sums(*index).astype("int32"), partials.slope, partials.base * weight
    )


def split_sum(extents: Extents, most: int | None) -> tuple[Extents, Extents]:
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
    return tuple(chunks[::-1]), tuple(steps[::-1])


def _largest_divisor(number: int, at_most: int) -> int:
    return next(d for d in range(min(number, at_most), 0, -1) if number % d == 0)
