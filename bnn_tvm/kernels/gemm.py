"""Layers as products of matrices, in the tiles that the warps of GPUs multiply.

Rows are the windows of all positions of a batch, columns the outputs, and both have the numbers of
one window along K, or its bits in words. Rows, columns and K are filled up to whole tiles with
zeros. Of bits, a tensor core counts the ones of ``a & w`` or of ``a ^ w``::

    popcount(a ^ w) = popcount(a) + popcount(w) - 2 popcount(a & w)

so that with ``and`` the ones of each window and of each filter are needed as well.

Each bit plane has tiles of its own: the planes of 16 rows, or of 8 columns, are neighbouring tiles.
What a pair of planes counts is weighed when sums leave the tiles, so that each plane is read once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from .border import Element
from .dot import FP16, TF32
from .geometry import Extents, Window
from .integers import Integers
from .popcount_sums import Planes
from .stages import ACCUMULATE, ONES, SUMS, WINDOWS

ROWS, COLUMNS = 16, 8
"""Of the tile that one instruction of a tensor core computes."""

SUMS_KIB = 2
"""Shared memory that the smallest block needs for the sums of one pair of planes, KiB."""

AND, XOR, PRODUCT = "and", "xor", "product"
"""What is summed: ones of the bits that both have, or only one has, or products of float32; for
others the form is the suffix of a `DotType`."""

FORM = "bnn.form"
"""Attribute of the stage that sums: what."""

# In words of 32 bits.
_STEPS = (8, 16)
_MOST_AT_ONCE = 4
_ROWS_OF_A_BLOCK, _COLUMNS_OF_A_BLOCK = 64, 64
# Parts of K, the steps that each must have, and how often all blocks must fit a GPU for that.
_DIVISIONS = ((32, 4, 4), (16, 8, 2), (8, 1, 8), (4, 1, 2), (2, 1, 2))
_MOST_WASTE = 1.5
# Parts that the warps of one block add up; where there are that many, their steps are short.
_MOST_PARTS_OF_A_BLOCK = 8
# Sums of the smallest block, in its parts and all planes, that leave room for others.
_MOST_SUMS = 16
_DOT_TYPES = {dot.suffix: dot for dot in (FP16, TF32)}
# A thread of the warp that computes a tile has the numbers of two rows, eight apart, and of two
# neighbouring columns.
_HALF, _PAIR = 8, 2


@dataclass(frozen=True)
class Windows:
    """What each result is computed of, as a matrix of numbers or words.

    Attributes
    ----------
    element : callable
        Gives the element at a plane, a row, a vector along K, and a place in that, all inside.
    shape : tuple of int
        Of the rows: (N, *positions), or (N,).
    length : int
        Elements of one window in one plane: the length of K.
    vector : int
        Neighbouring elements that are read at once: of one pixel.
    planes : int
    per_word : int
        Elements of 32 bits: 2 of float16, else 1.
    """

    element: Callable[[Expr, Expr, Expr, Expr], Expr]
    shape: Extents
    length: int
    vector: int
    planes: int
    per_word: int

    @property
    def rows(self) -> int:
        """Count the rows."""
        return math.prod(self.shape)


def conv_windows(
    data: Element,
    shape: Extents,
    window: Window,
    border: Callable[[Expr], Expr],
    planes: int = 1,
    per_word: int = 1,
) -> Windows:
    """Read the windows of a convolution in one to three dimensions.

    Parameters
    ----------
    data : callable
        Gives the element at an index.
    shape : tuple of int
        Of the data: (N, *extents, channels, or planes * words).
    window : Window
    border : callable
        Gives the padding at a channel or word.
    planes, per_word : int
        Of the windows.
    """
    batch, *extents, last = shape
    last //= planes
    positions = window.output_size(tuple(extents))
    vector = math.gcd(last, _MOST_AT_ONCE * per_word)

    def element(plane: Expr, row: Expr, k: Expr, lane: Expr) -> Expr:
        n, *position = _split_index(row, (batch, *positions))
        *steps, group = _split_index(k, (*window.kernel, last // vector))
        at = plane * last + group * vector + lane
        place = window.place(position, steps)
        pixel = [p - before for p, before in zip(place, window.before, strict=True)]
        if not window.is_padded:
            return data(n, *pixel, at)
        inside = [c for p, size in zip(pixel, extents, strict=True) for c in (p >= 0, p < size)]
        return tirx.if_then_else(tirx.all(*inside), data(n, *pixel, at), border(at))

    length = math.prod(window.kernel) * last
    return Windows(element, (batch, *positions), length, vector, planes, per_word)


def dense_windows(data: Element, shape: Extents, planes: int = 1, per_word: int = 1) -> Windows:
    """Read the rows of data of a shape; all axes but the first are inputs, the last in planes."""
    batch, *inputs, last = shape
    last //= planes
    vector = math.gcd(last, _MOST_AT_ONCE * per_word)

    def element(plane: Expr, row: Expr, k: Expr, lane: Expr) -> Expr:
        *place, group = _split_index(k, (*inputs, last // vector))
        return data(row, *place, plane * last + group * vector + lane)

    return Windows(element, (batch,), math.prod(inputs) * last, vector, planes, per_word)


def _split_index(index: Expr, extents: Extents) -> list[Expr]:
    """Divide a flat index into one along each axis."""
    parts = []
    for place, extent in enumerate(extents):
        inner = math.prod(extents[place + 1 :])
        part = index // inner if inner > 1 else index
        parts.append(part % extent if place else part)
    return parts


@dataclass(frozen=True)
class GemmPlan:
    """How windows and filters lie along K.

    Attributes
    ----------
    length, vector : int
        Of one window, and of what is read at once.
    step : int
        Elements that are multiplied at once.
    parts : int
        Parts of K that are summed side by side, by other warps.
    steps : int
        Of one part.
    planes : Planes
    """

    length: int
    vector: int
    step: int
    parts: int
    steps: int
    planes: Planes

    @property
    def vectors(self) -> int:
        """Vectors of one step."""
        return self.step // self.vector

    @property
    def filled(self) -> int:
        """Length of K with what fills it up."""
        return self.parts * self.steps * self.step


def plan_gemm(
    windows: Windows, columns: int, multiprocessors: int, weight_planes: int = 1
) -> GemmPlan:
    """Divide K: into steps that waste least, and into parts where tiles leave a GPU idle.

    Parameters
    ----------
    windows : Windows
    columns : int
        Of one plane.
    multiprocessors : int
    weight_planes : int
    """
    planes = Planes(windows.planes, weight_planes)
    rows, columns = windows.rows * planes.data, columns * planes.weight
    blocks = -(-rows // _ROWS_OF_A_BLOCK) * -(-columns // _COLUMNS_OF_A_BLOCK)
    room = _MOST_SUMS // (planes.data * planes.weight)
    for parts, least_steps, times in _DIVISIONS:
        plan = _divide(windows, parts, planes)
        is_long = plan.steps >= least_steps and plan.filled <= _MOST_WASTE * plan.length
        has_room = min(parts, _MOST_PARTS_OF_A_BLOCK) <= room
        if is_long and has_room and blocks * times <= multiprocessors:
            return plan
    return _divide(windows, 1, planes)


def _divide(windows: Windows, parts: int, planes: Planes) -> GemmPlan:
    """Divide K into parts, and these into the steps that waste least."""
    words = _STEPS if parts < _MOST_PARTS_OF_A_BLOCK else _STEPS[:1]
    plans = []
    for step in (n * windows.per_word for n in words):
        steps = -(-windows.length // (parts * step))
        plans.append(GemmPlan(windows.length, windows.vector, step, parts, steps, planes))
    return min(plans, key=lambda plan: (plan.filled, -plan.step))


def fill_rows(rows: int) -> int:
    """Fill rows up to whole tiles: of an instruction where there are few, else of a block."""
    multiple = ROWS if rows <= ROWS else 2 * ROWS if rows <= 2 * ROWS else _ROWS_OF_A_BLOCK
    return -(-rows // multiple) * multiple


def lay_out(blocked: np.ndarray, plan: GemmPlan) -> np.ndarray:
    """Lay filters out as columns.

    Parameters
    ----------
    blocked : numpy.ndarray
        (output blocks, ..., planes * last, lanes), words or numbers; all but the first, the planes
        and the last make up K.
    plan : GemmPlan

    Returns
    -------
    numpy.ndarray
        (parts, steps, tiles of columns * planes, 4 pairs, 2 columns, vectors of a step, vector).
    """
    columns = _as_columns(blocked, plan.planes.weight)
    filled = np.zeros((*columns.shape[:-1], plan.filled), blocked.dtype)
    filled[..., : plan.length] = columns
    in_tiles = filled.reshape(-1, COLUMNS, plan.planes.weight, plan.parts, plan.steps, plan.step)
    divided = in_tiles.transpose(3, 4, 0, 2, 1, 5)
    tiles = (-1, COLUMNS // _PAIR, _PAIR)
    shape = (plan.parts, plan.steps, *tiles, plan.vectors, plan.vector)
    return np.ascontiguousarray(divided).reshape(shape)


def _as_columns(blocked: np.ndarray, planes: int) -> np.ndarray:
    """Bring (output blocks, ..., planes * last, lanes) into (columns, planes, K)."""
    *outer, last, lanes = blocked.shape
    apart = blocked.reshape(*outer, planes, last // planes, lanes)
    first = np.moveaxis(apart, (-1, -3), (1, 2))
    return first.reshape(outer[0] * lanes, planes, -1)


def count_ones(blocked: np.ndarray, planes: Planes) -> np.ndarray:
    """Count the ones of each filter, weighed as they count beside the data's planes.

    Parameters
    ----------
    blocked : numpy.ndarray
        (output blocks, ..., planes * words, lanes).
    planes : Planes

    Returns
    -------
    numpy.ndarray
        (columns,) int32.
    """
    columns = _as_columns(blocked, planes.weight)
    octets = np.ascontiguousarray(columns).view(np.uint8)
    ones = np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.int32)
    weights = np.left_shift(1, np.arange(planes.weight, dtype=np.int32))
    return _most(planes.data) * (ones * weights).sum(axis=-1, dtype=np.int32)


def _most(planes: int) -> int:
    """Return the largest number of so many binary digits."""
    return (1 << planes) - 1


def count_disagreements(
    windows: Windows, weight: te.Tensor, plan: GemmPlan, ones: te.Tensor | None = None
) -> Integers:
    """Count the bits in which each window and each filter differ, weighed by their planes.

    Parameters
    ----------
    windows : Windows
        Of words.
    weight : te.Tensor
        As `lay_out` gives it.
    plan : GemmPlan
    ones : te.Tensor, optional
        (columns,) int32, those of the filters; where given, the ones of ``a & w`` are counted,
        else those of ``a ^ w``.

    Returns
    -------
    Integers
        Elements of (*rows, columns).
    """
    sums = multiply(windows, weight, plan, XOR if ones is None else AND)
    if ones is None:
        return Integers(sums)
    of_windows = _count_window_ones(windows)

    def count(*index: Expr) -> Expr:
        row, column = _flat_index(index[:-1], windows.shape), index[-1]
        return _most(plan.planes.weight) * of_windows(row) + ones(column) - 2 * sums(*index)

    return Integers(count)


def multiply(windows: Windows, weight: te.Tensor, plan: GemmPlan, form: str) -> Element:
    """Multiply windows by filters.

    Parameters
    ----------
    windows : Windows
    weight : te.Tensor
        As `lay_out` gives it.
    plan : GemmPlan
    form : str
        `AND`, `XOR`, `PRODUCT` or the suffix of a `DotType`.

    Returns
    -------
    callable
        Gives elements of (*rows, columns), int32 or float32.
    """
    sums = _sum_tiles(_lay_windows(windows, plan, str(weight.dtype)), weight, plan, form)
    return lambda *index: sums(_flat_index(index[:-1], windows.shape), index[-1])


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
        (parts, steps, tiles of rows * planes, 2 halves, 8 rows, vectors of a step, vector).
    """
    rows, planes, zero = windows.rows, windows.planes, tirx.const(0, dtype)
    filled = fill_rows(rows)

    def element(*index: Expr) -> Expr:
        part, step, tile, half, in_half, group, lane = index
        row = tile // planes * ROWS + half * _HALF + in_half
        k = (part * plan.steps + step) * plan.vectors + group
        inside = [row < rows] if filled != rows else []
        if plan.filled != plan.length:
            inside.append(k < plan.length // plan.vector)
        read = windows.element(tile % planes, row, k, lane)
        return tirx.if_then_else(tirx.all(*inside), read, zero) if inside else read

    tiles = (filled // ROWS * planes, ROWS // _HALF, _HALF)
    shape = (plan.parts, plan.steps, *tiles, plan.vectors, plan.vector)
    return te.compute(shape, element, name=WINDOWS)


def _sum_tiles(windows: te.Tensor, weight: te.Tensor, plan: GemmPlan, form: str) -> te.Tensor:
    """Sum what each row has with each column: (rows, columns).

    It is summed as the threads of warps have it: (parts, tiles of rows, tiles of columns, 8 rows
    of a half, 4 pairs of columns, 2 halves, 2 columns).
    """
    row_tiles, column_tiles = int(windows.shape[2]), int(weight.shape[2])
    step = te.reduce_axis((0, plan.steps), "step")
    group = te.reduce_axis((0, plan.vectors), "group")
    lane = te.reduce_axis((0, plan.vector), "lane")
    tiles = (row_tiles, column_tiles, _HALF, COLUMNS // _PAIR, ROWS // _HALF, _PAIR)

    def dot(part: Expr, i: Expr, j: Expr, row: Expr, pair: Expr, half: Expr, odd: Expr) -> Expr:
        a = windows(part, step, i, half, row, group, lane)
        w = weight(part, step, j, pair, odd, group, lane)
        return te.sum(combine(a, w, form), axis=[step, group, lane])

    shape = (plan.parts, *tiles)
    return _join_tiles(te.compute(shape, dot, name=ACCUMULATE, attrs={FORM: form}), plan)


def _join_tiles(partial: te.Tensor, plan: GemmPlan) -> te.Tensor:
    """Sum the parts of K and the weighed planes: (rows, columns)."""
    planes = plan.planes
    part = te.reduce_axis((0, plan.parts), "part")
    p = te.reduce_axis((0, planes.data), "p")
    q = te.reduce_axis((0, planes.weight), "q")

    def total(row: Expr, column: Expr) -> Expr:
        in_row, in_column = row % ROWS, column % COLUMNS
        place = (in_row % _HALF, in_column // _PAIR, in_row // _HALF, in_column % _PAIR)
        tile = (row // ROWS * planes.data + p, column // COLUMNS * planes.weight + q)
        sums = partial(part, *tile, *place)
        weighed = sums if planes == Planes() else tirx.shift_left(sums, p + q)
        return te.sum(weighed, axis=[part, p, q])

    rows = int(partial.shape[1]) // planes.data * ROWS
    columns = int(partial.shape[2]) // planes.weight * COLUMNS
    return te.compute((rows, columns), total, name=SUMS)


def combine(a: Expr, w: Expr, form: str) -> Expr:
    """Compute what is summed of an element of a window and one of a filter."""
    if form == PRODUCT:
        return a * w
    if form in _DOT_TYPES:
        return _DOT_TYPES[form].product(a, w)
    return tirx.popcount(a & w if form == AND else a ^ w).astype("int32")


def _count_window_ones(windows: Windows) -> te.Tensor:
    """Count the ones of each window, each as its plane weighs: (rows,) int32."""
    k = te.reduce_axis((0, windows.planes * windows.length), "k")

    def ones(row: Expr) -> Expr:
        plane, at = k // windows.length, k % windows.length
        read = windows.element(plane, row, at // windows.vector, at % windows.vector)
        count = tirx.popcount(read).astype("int32")
        return te.sum(count if windows.planes == 1 else tirx.shift_left(count, plane), axis=[k])

    return te.compute((windows.rows,), ones, name=ONES)
