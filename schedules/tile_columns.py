"""Write out what each column of a filter adds to the pixels of a tile that it finds in the image.

The pixels of a tile are written out, so that no condition can skip one of them. The columns of the
filter are written out as well: each once for tiles that lie inside of the image, and once with
fewer pixels for the first or the last tile of a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock
from tvm.sym import Analyzer

from bnn_tvm.kernels.stages import PARTIAL

from .steps import change_loop, substitute

_Span = tuple[int, int]
"""The first of some neighbouring pixels, and the one behind the last."""


@dataclass(frozen=True)
class TileColumns:
    """Loops that say which column of an image a pixel of a tile reads, and when it has it.

    Attributes
    ----------
    conditions : list of Expr
        In terms of these loops: where one does not hold, nothing is added.
    step, pixels : For
        Over the columns of the filter, and over the pixels of a tile.
    tiles : For or None
        Over the tiles of a row, if there are several.
    """

    conditions: list[Any]
    step: tirx.For
    pixels: tirx.For
    tiles: tirx.For | None

    def write_out(self, loop: tirx.For) -> tirx.Stmt:
        """Write out the loop over the columns of the filter."""
        return tirx.stmt_seq(*(self._add_column(loop.body, k) for k in range(int(loop.extent))))

    def _add_column(self, body: Any, step: int) -> tirx.Stmt:
        """Add one column of the filter, to fewer pixels in tiles that lack some.

        All columns in a row for each kind of tile are more code: 1.07 of the time with AVX2 at 7x7.
        """
        tiles: dict[_Span, list[int]] = {}
        for tile in range(1 if self.tiles is None else int(self.tiles.extent)):
            tiles.setdefault(self._span(step, tile), []).append(tile)
        most, *others = sorted(tiles, key=lambda span: len(tiles[span]), reverse=True)
        written = self._add_to(body, step, most)
        at: Any = None if self.tiles is None else self.tiles.loop_var
        for span in others:
            here = tirx.any(*(at == tile for tile in tiles[span]))
            written = tirx.IfThenElse(here, self._add_to(body, step, span), written)
        return written

    def _span(self, step: int, tile: int) -> _Span:
        pixels = range(int(self.pixels.extent))
        inside = [pixel for pixel in pixels if self._reads(step, tile, pixel)]
        return (inside[0], inside[-1] + 1) if inside else (0, 0)

    def _reads(self, step: int, tile: int, pixel: int) -> bool:
        loops = zip((self.step, self.tiles, self.pixels), (step, tile, pixel), strict=True)
        known = {loop.loop_var: tirx.const(at, "int32") for loop, at in loops if loop is not None}
        simplify = Analyzer().simplify
        return all(int(simplify(substitute(c, known))) for c in self.conditions)

    def _add_to(self, body: Any, step: int, span: _Span) -> tirx.Stmt:
        """Copy what one column of the filter adds, for some of the pixels."""
        first, end = span
        if first == end:
            return tirx.Evaluate(0)

        def narrow(pixels: tirx.For) -> tirx.For:
            return tirx.For(pixels.loop_var, first, end - first, pixels.kind, pixels.body)

        narrowed = change_loop(body, self.pixels.loop_var, narrow)
        return _copy(substitute(narrowed, {self.step.loop_var: tirx.const(step, "int32")}))


def _copy(body: Any) -> Any:
    """Copy loops and blocks with variables and partial sums of their own: each is defined once."""
    fresh: dict[tirx.Var, tirx.Var] = {}

    def note(*variables: tirx.Var) -> None:
        fresh.update((var, tirx.Var(var.name, var.ty)) for var in variables)

    def note_block(block: SBlock) -> None:
        note(*(axis.var for axis in block.iter_vars))
        if str(block.name_hint) == f"{PARTIAL}_init":
            note(*(region.source for region in block.writes))
        fresh.update((match.buffer, _copy_buffer(match.buffer)) for match in block.match_buffers)

    note_loop = (tirx.For, lambda loop: note(loop.loop_var))
    note_value = (tirx.Bind, lambda bind: note(bind.var))
    tvm_ffi.structural_walk(body, [note_loop, note_value, (SBlock, note_block)])
    return substitute(body, fresh)


def _copy_buffer(buffer: tirx.Var) -> tirx.Var:
    """Copy what stands for a part of another buffer inside an instruction."""
    return tirx.decl_buffer(
        buffer.shape,
        buffer.dtype,
        buffer.name,
        elem_offset=tirx.Var("elem_offset", "int32"),
        offset_factor=buffer.offset_factor,
    )
