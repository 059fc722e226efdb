"""Layers on bits as products of bit matrices, for tensor cores that multiply those.

Rows are the windows of all positions of a batch, columns the outputs, and both have the bits of one
window along K. A tensor core counts the ones of ``a & w`` or of ``a ^ w`` for a tile of rows and
columns. Rows, columns and K are filled up to whole tiles with zeros::

    popcount(a ^ w) = popcount(a) + popcount(w) - 2 popcount(a & w)

so that with ``and`` the ones of each window and of each filter are needed as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from .geometry import Extents, Window
from .popcount_sums import Count
from .stages import ACCUMULATE, ONES, SUMS, WINDOWS

ROWS, COLUMNS = 16, 8
"""Of the tile that one instruction of a tensor core computes."""

_WORDS_OF_A_STEP = (8, 16)
_MOST_WORDS_AT_ONCE = 4
_ROWS_OF_A_BLOCK, _COLUMNS_OF_A_BLOCK = 64, 64
# A thread of the warp that computes a tile has the numbers of two rows, eight apart, and of two
# neighbouring columns.
_HALF, _PAIR = 8, 2


Word = Callable[[Expr, Expr, Expr], Expr]
"""Gives the word at a row, a vector along K, and a place in it, all inside."""


@dataclass(frozen=True)
class Windows:
    """The bits that each result is computed of, as a matrix.

    Attributes
    ----------
    word : callable
    shape : tuple of int
        Of the rows: (N, *positions), or (N,).
    words : int
        Of one window: the length of K.
    vector : int
        Neighbouring words that are read at once: of one pixel.
    """

    word: Word
    shape: Extents
    words: int
    vector: int

    @property
    def rows(self) -> int:
        """Count the rows."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GemmPlan:
    """How the bits of windows and filters lie along K.

    Attributes
    ----------
    words, vector : int
        Of one window, and of what is read at once.
    step : int
        Words that are multiplied at once.
    parts : int
        Parts of K that are counted side by side, by other warps.
    steps : int
        Of one part.
    """

    words: int
    vector: int
    step: int
    parts: int
    steps: int

    @property
    def vectors(self) -> int:
        """Vectors of one step."""
        return self.step // self.vector


def plan_gemm(windows: Windows, columns: int, multiprocessors: int) -> GemmPlan:
    """Divide K: into steps that waste least, and into parts where tiles leave a GPU idle.

    Parameters
    ----------
    windows : Windows
    columns : int
    multiprocessors : int
    """
    words, rows = windows.words, windows.rows
    step = min(_WORDS_OF_A_STEP, key=lambda step: (-(-words // step) * step, -step))
    blocks = -(-rows // _ROWS_OF_A_BLOCK) * -(-columns // _COLUMNS_OF_A_BLOCK)
    total = -(-words // step)
    wanted = 4 if blocks * 2 <= multiprocessors else 1
    parts = next(n for n in (4, 2, 1) if n <= wanted and n <= total)
    return GemmPlan(words, windows.vector, step, parts, -(-total // parts))


def fill_rows(rows: int) -> int:
    """Fill rows up to whole tiles: of an instruction where there are few, else of a block."""
    multiple = ROWS if rows <= ROWS else 2 * ROWS if rows <= 2 * ROWS else _ROWS_OF_A_BLOCK
    return -(-rows // multiple) * multiple


def lay_out(words: np.ndarray, plan: GemmPlan) -> np.ndarray:
    """Lay filters out as columns.

    Parameters
    ----------
    words : numpy.ndarray
        (output blocks, ..., lanes), as layers are packed; all but the first and the last make up K.
    plan : GemmPlan

    Returns
    -------
    numpy.ndarray
        (parts, steps, tiles of columns, 4 pairs, 2 columns, vectors of a step, words of a vector).
    """
    columns = np.moveaxis(words, -1, 1).reshape(-1, plan.words)
    filled = np.zeros((columns.shape[0], plan.parts * plan.steps * plan.step), words.dtype)
    filled[:, : plan.words] = columns
    divided = filled.reshape(-1, plan.parts, plan.steps, plan.step)
    tiles = (-1, COLUMNS // _PAIR, _PAIR)
    shape = (plan.parts, plan.steps, *tiles, plan.vectors, plan.vector)
    return np.ascontiguousarray(divided.transpose(1, 2, 0, 3)).reshape(shape)


def count_ones(words: np.ndarray) -> np.ndarray:
    """Count the ones of each filter of (output blocks, ..., lanes): (columns,) int32."""
    columns = np.moveaxis(words, -1, 1).reshape(words.shape[0] * words.shape[-1], -1)
    octets = np.ascontiguousarray(columns).view(np.uint8)
    return np.unpackbits(octets, axis=1).sum(axis=1, dtype=np.int32)


def conv_words(data: te.Tensor, window: Window, border: Callable[[Expr], Expr]) -> Windows:
    """Read the words of the windows of a convolution in one to three dimensions.

    Parameters
    ----------
    data : te.Tensor
        (N, *extents, words) packed activations.
    window : Window
    border : callable
        Gives the word of the padding at a word of a pixel.
    """
    batch, *extents, words = (int(extent) for extent in data.shape)
    vector = math.gcd(words, _MOST_WORDS_AT_ONCE)
    positions = window.output_size(tuple(extents))

    def word(row: Expr, k: Expr, lane: Expr) -> Expr:
        n, *position = _split_index(row, (batch, *positions))
        *steps, group = _split_index(k, (*window.kernel, words // vector))
        at = group * vector + lane
        place = window.place(position, steps)
        pixel = [p - before for p, before in zip(place, window.before, strict=True)]
        if not window.is_padded:
            return data(n, *pixel, at)
        inside = [c for p, size in zip(pixel, extents, strict=True) for c in (p >= 0, p < size)]
        return tirx.if_then_else(tirx.all(*inside), data(n, *pixel, at), border(at))

    return Windows(word, (batch, *positions), math.prod(window.kernel) * words, vector)


def dense_words(data: te.Tensor) -> Windows:
    """Read the words of rows; all axes of the data but the first are inputs."""
    batch, *inputs, words = (int(extent) for extent in data.shape)
    vector = math.gcd(words, _MOST_WORDS_AT_ONCE)

    def word(row: Expr, k: Expr, lane: Expr) -> Expr:
        *place, group = _split_index(k, (*inputs, words // vector))
        return data(row, *place, group * vector + lane)

    return Windows(word, (batch,), math.prod(inputs) * words, vector)


def _split_index(index: Expr, extents: Extents) -> list[Expr]:
    """Divide a flat index into one along each axis."""
    parts = []
    for place, extent in enumerate(extents):
        inner = math.prod(extents[place + 1 :])
        part = index // inner if inner > 1 else index
        parts.append(part % extent if place else part)
    return parts


def bit_gemm(
    windows: Windows,
    weight: te.Tensor,
    plan: GemmPlan,
    ones_of_weight: te.Tensor | None = None,
) -> Count:
    """Count the disagreements of each window with each filter.

    Parameters
    ----------
    windows : Windows
    weight : te.Tensor
        As `lay_out` gives it.
    plan : GemmPlan
    ones_of_weight : te.Tensor, optional
        (columns,) int32; where given, the ones of ``a & w`` are counted, else those of ``a ^ w``.

    Returns
    -------
    callable
        Gives elements of (*rows, columns) int32.
    """
    laid = _lay_windows(windows, plan, str(weight.dtype))
    sums = _multiply(laid, weight, plan, "xor" if ones_of_weight is None else "and")
    ones = None if ones_of_weight is None else _count_window_ones(windows)

    def count(*index: Expr) -> Expr:
        row, column = _flat_index(index[:-1], windows.shape), index[-1]
        if ones is None or ones_of_weight is None:
            return sums(row, column)
        return ones(row) + ones_of_weight(column) - 2 * sums(row, column)

    return count


def _flat_index(index: Sequence[Expr], extents: Extents) -> Expr:
    flat = index[0]
    for at, extent in zip(index[1:], extents[1:], strict=True):
        flat = flat * extent + at
    return flat


def _lay_windows(windows: Windows, plan: GemmPlan, dtype: str) -> te.Tensor:
    """Lay the windows out as rows, filled up with zeros.

    Returns
    -------
    te.Tensor
        (parts, steps, tiles of rows, 2 halves, 8 rows, vectors of a step, words of a vector).
    """
    rows, zero = windows.rows, tirx.const(0, dtype)
    filled = fill_rows(rows)

    def element(*index: Expr) -> Expr:
        part, step, tile, half, in_half, group, lane = index
        row = tile * ROWS + half * _HALF + in_half
        k = (part * plan.steps + step) * plan.vectors + group
        inside = []
        if filled != rows:
            inside.append(row < rows)
        if plan.parts * plan.steps * plan.step != plan.words:
            inside.append(k < plan.words // plan.vector)
        read = windows.word(row, k, lane)
        return tirx.if_then_else(tirx.all(*inside), read, zero) if inside else read

    tiles = (filled // ROWS, ROWS // _HALF, _HALF)
    shape = (plan.parts, plan.steps, *tiles, plan.vectors, plan.vector)
    return te.compute(shape, element, name=WINDOWS)


def _multiply(windows: te.Tensor, weight: te.Tensor, plan: GemmPlan, form: str) -> te.Tensor:
    """Count the ones of each row with each column: (rows, columns) int32.

    They are summed as the threads of warps have them: (parts, tiles of rows, tiles of columns,
    8 rows of a half, 4 pairs of columns, 2 halves, 2 columns).
    """
    row_tiles, column_tiles = int(windows.shape[2]), int(weight.shape[2])
    step = te.reduce_axis((0, plan.steps), "step")
    group = te.reduce_axis((0, plan.vectors), "group")
    lane = te.reduce_axis((0, plan.vector), "lane")
    tiles = (row_tiles, column_tiles, _HALF, COLUMNS // _PAIR, ROWS // _HALF, _PAIR)

    def dot(part: Expr, i: Expr, j: Expr, row: Expr, pair: Expr, half: Expr, odd: Expr) -> Expr:
        a = windows(part, step, i, half, row, group, lane)
        w = weight(part, step, j, pair, odd, group, lane)
        ones = tirx.popcount(a & w if form == "and" else a ^ w)
        return te.sum(ones.astype("int32"), axis=[step, group, lane])

    counts = te.compute((plan.parts, *tiles), dot, name=ACCUMULATE)
    part = te.reduce_axis((0, plan.parts), "part")

    def total(row: Expr, column: Expr) -> Expr:
        in_row, in_column = row % ROWS, column % COLUMNS
        place = (in_row % _HALF, in_column // _PAIR, in_row // _HALF, in_column % _PAIR)
        return te.sum(counts(part, row // ROWS, column // COLUMNS, *place), axis=[part])

    return te.compute((row_tiles * ROWS, column_tiles * COLUMNS), total, name=SUMS)


def _count_window_ones(windows: Windows) -> te.Tensor:
    """Count the ones of each window: (rows,) int32."""
    k = te.reduce_axis((0, windows.words), "k")

    def ones(row: Expr) -> Expr:
        read = windows.word(row, k // windows.vector, k % windows.vector)
        return te.sum(tirx.popcount(read).astype("int32"), axis=[k])

    return te.compute((windows.rows,), ones, name=ONES)
