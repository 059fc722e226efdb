"""Layers on packed bits whose vectors lie along the reduction.

Where a vector instruction counts bits in bytes (``cnt`` of NEON), a register holds bits of *one*
output, or of the few outputs whose bits fill it, and the counts of neighbouring bytes are added
until the outputs of a block share registers of 16-bit sums. The reduction is therefore cut into
runs of `depth` words: a run is what one register, or an even part of it, holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from .border import read_windows
from .geometry import Extents, Window
from .integers import Integers
from .popcount_sums import Pair, Planes, split_sum, weigh_and_sum
from .stages import ACCUMULATE, PARTIAL

# 16-bit sums of one register.
_SUMS = 8
_WORD_BITS = 32
_MOST_WORDS = 4
# What a 16-bit sum holds.
_MOST_BITS = (1 << 16) - 1


def run_length(words: int) -> int:
    """Choose how many neighbouring words one register holds, of a plane of so many."""
    return next(depth for depth in (_MOST_WORDS, 2, 1) if words % depth == 0)


def fills_registers(words: int) -> bool:
    """Tell whether registers hold one output each, of pixels of so many words."""
    return run_length(words) == _MOST_WORDS


def outputs_of_block(channels: int) -> int:
    """Choose how many outputs are computed side by side, for inputs of so many channels.

    Sums fill one register; two where a register holds the weights of several outputs, so that a
    pixel that is repeated for them is used more often.
    """
    return _SUMS if fills_registers(-(-channels // _WORD_BITS)) else 2 * _SUMS


def lay_along_k(weight: np.ndarray, planes: int) -> np.ndarray:
    """Lay packed weights out so that runs of words are neighbours.

    Parameters
    ----------
    weight : numpy.ndarray
        (output blocks, ..., planes * words, outputs of a block) packed weights.
    planes : int

    Returns
    -------
    numpy.ndarray
        (output blocks, ..., planes * runs, outputs of a block, words of a run).
    """
    *outer, words, outputs = weight.shape
    depth = run_length(words // planes)
    runs = weight.reshape(*outer, words // depth, depth, outputs)
    return np.ascontiguousarray(runs.swapaxes(-1, -2))


def bitserial_conv(
    data: te.Tensor,
    weight: te.Tensor,
    window: Window,
    planes: Planes,
    border: Callable[[Expr], Expr],
    skipped: Sequence[bool],
) -> Integers:
    """Count weighted disagreements of each window with each filter, in one to three dimensions.

    Parameters
    ----------
    data : te.Tensor
        (N, *extents, planes * words) packed activations.
    weight : te.Tensor
        (output blocks, *kernel, planes * runs, outputs of a block, words of a run) packed weights.
    window : Window
    planes : Planes
    border : callable
        Gives the word of the padding at a word of a pixel.
    skipped : sequence of bool
        Along which axes no padding is read; `passes.skipped_border` adds what it counts for.

    Returns
    -------
    Integers
        Elements of (N, *positions, output blocks, outputs of a block) int32.
    """
    blocks, *kernel, runs, outputs, depth = (int(extent) for extent in weight.shape)
    batch, *extents, words = (int(extent) for extent in data.shape)
    pixels = read_windows(data, window, border, skipped)
    runs, words = runs // planes.weight, words // planes.data

    def disagree(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        n, *position, block, lane = index
        *steps, p, q, run, word = k
        at = p * words + run * depth + word
        weights = weight(block, *steps, q * runs + run, lane, word)
        return pixels.combine(n, position, steps, at, lambda pixel: pixel ^ weights)

    shape = (batch, *window.output_size(tuple(extents)), blocks, outputs)
    return _sum_popcounts(shape, (*kernel, planes.data, planes.weight, runs), depth, disagree)


def bitserial_dense(data: te.Tensor, weight: te.Tensor, planes: Planes) -> Integers:
    """Count weighted disagreements of each row with each unit's weights.

    Parameters
    ----------
    data : te.Tensor
        (N, ..., planes * words) packed activations; all axes but the first are inputs.
    weight : te.Tensor
        (output blocks, ..., planes * runs, outputs of a block, words of a run) packed weights.
    planes : Planes

    Returns
    -------
    Integers
        Elements of (N, output blocks, outputs of a block) int32.
    """
    blocks, *inputs, runs, outputs, depth = (int(extent) for extent in weight.shape)
    runs, words = runs // planes.weight, int(data.shape[-1]) // planes.data

    def disagree(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        n, block, lane = index
        *place, p, q, run, word = k
        pixel = data(n, *place, p * words + run * depth + word)
        return pixel ^ weight(block, *place, q * runs + run, lane, word)

    shape = (int(data.shape[0]), blocks, outputs)
    return _sum_popcounts(shape, (*inputs, planes.data, planes.weight, runs), depth, disagree)


def _sum_popcounts(shape: Extents, extents: Extents, depth: int, disagree: Pair) -> Integers:
    """Sum the popcounts of words over places, planes, runs and the words of a run.

    Sums that may exceed 16 bits, and those of several planes, are made in parts that fit.
    """
    *_, p, q, _ = extents
    chunks, steps = split_sum(extents, _MOST_BITS // (_WORD_BITS * depth))

    def part(index: tuple[Expr, ...], k: list[Expr]) -> Expr:
        place, chunk = index[: len(shape)], index[len(shape) :]
        *outer, word = k
        at = [c * n + s for c, n, s in zip(chunk, steps, outer, strict=True)]
        return disagree(place, [*at, word])

    if math.prod(chunks) > 1:
        partials = Integers(_count((*shape, *chunks), steps, depth, part, PARTIAL))
        return weigh_and_sum(shape, chunks, Planes(p, q), partials, "int32")
    sums = _count(shape, extents, depth, disagree, ACCUMULATE)
    return Integers(lambda *index: sums(*index).astype("int32"))


def _count(shape: Extents, inner: Extents, depth: int, word: Pair, name: str) -> te.Tensor:
    axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(inner)]
    # A loop of one step would hide the run from the pattern of the instruction.
    run = [te.reduce_axis((0, depth), "word")] if depth > 1 else []

    def count(*index: Expr) -> Expr:
        bits = tirx.popcount(word(index, [*axes, *(run or [0])]))
        return te.sum(bits.astype("uint16"), axis=[*axes, *run])

    return te.compute(shape, count, name=name)
