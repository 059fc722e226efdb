"""Layers on bits that read no padding: what it counts for is known before.

The part of a filter that lies in the border of an image disagrees with it in the same bits for all
images. What that counts for is tabulated, by how far a window reaches over the border along each
axis, and the sums of a kernel start with it: of a 3x3 filter on 7x7 maps 361 of 441 words are left.
"""

from __future__ import annotations

from collections.abc import Sequence

import tvm_ffi
from tvm import tirx
from tvm.ir import Expr
from tvm.s_tir import SBlock

from bnn_tvm.kernels.border import SkippedBorder
from bnn_tvm.kernels.stages import ACCUMULATE, SKIPPED


def class_positions(skipped: SkippedBorder) -> list[list[int]]:
    """List a position of each class along each axis: those of a class reach as far over the border.

    Positions that read no padding are one class, each other is one of its own.
    """
    window, extents = skipped.window, skipped.extents
    axes = zip(window.positions_inside(extents), window.output_size(extents), strict=True)
    return [[*range(first + 1), *range(last + 1, count)] for (first, last), count in axes]


def start_sums(func: tirx.PrimFunc, skipped: SkippedBorder) -> tirx.PrimFunc:
    """Let the sums of a layer start with what the padding counts for, and not with 0.

    Parameters
    ----------
    func : PrimFunc
        Made of `bitserial_conv` that skips the border, not scheduled yet. A parameter of the name
        `SKIPPED` holds (classes of positions along each axis, ..., output blocks, lanes); of sums
        that have several numbers, such as those of `count_pairs`, one such table after the other.
    skipped : SkippedBorder
    """
    table = next(param for param in func.params if param.name == SKIPPED)
    inside = skipped.window.positions_inside(skipped.extents)

    def start(block: SBlock) -> SBlock:
        if str(block.name_hint) != ACCUMULATE:
            return block
        stores = _stores_in(block.init)
        tables = [[nth] if len(stores) > 1 else [] for nth in range(len(stores))]
        init = tirx.stmt_seq(*map(start_with, stores, tables))
        # The table is not among the reads: what adds to the sums would announce it too.
        return SBlock(block.iter_vars, block.reads, block.writes, block.name_hint, block.body, init)

    def start_with(store: tirx.BufferStore, nth: list[int]) -> tirx.BufferStore:
        _, *position, blocks, lane = store.indices
        number = table[(*nth, *_classes(position, inside), blocks, lane)]
        return tirx.BufferStore(store.buffer, number.astype(store.buffer.dtype), store.indices)

    return func.with_body(tvm_ffi.structural_map(func.body, (SBlock, start)))


def _stores_in(init: tirx.Stmt) -> list[tirx.BufferStore]:
    return list(init.seq) if isinstance(init, tirx.SeqStmt) else [init]


def _classes(position: Sequence[Expr], inside: Sequence[tuple[int, int]]) -> list[Expr]:
    """Give the class of a position along each axis, by its number in `class_positions`."""
    return [
        tirx.min(at, first) + tirx.max(at - last, 0)
        for at, (first, last) in zip(position, inside, strict=True)
    ]
