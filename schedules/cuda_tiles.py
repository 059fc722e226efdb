"""Choose how much of a product of matrices a block of threads computes."""

from __future__ import annotations

from dataclasses import dataclass

from bnn_tvm.kernels.gemm import COLUMNS, ROWS
from bnn_tvm.target import CudaTarget

STAGES = 3
"""Steps of K in shared memory: one that is multiplied, and those that are copied meanwhile."""

_WORD_BYTES = 4
# For the ones of each row, beside steps and sums.
_SPARE_KIB = 1
# Tiles of 4 registers a thread each, of bits and of numbers: those keep rows and columns as well.
_MOST_SUM_TILES, _MOST_NUMBER_TILES = 32, 16
_MOST_WARPS = 8
# Warps that keep the four tensor cores of a multiprocessor busy.
_ENOUGH_WARPS = 4
_MOST_OFFERED = 12
_SIZES = (1, 2, 4, 8)


@dataclass(frozen=True)
class GemmTile:
    """How a block of threads divides its work among warps.

    Attributes
    ----------
    rows, columns : int
        Tiles of 16 rows and of 8 columns that one warp multiplies.
    warps_down, warps_across : int
        Warps along rows and along columns.
    """

    rows: int
    columns: int
    warps_down: int
    warps_across: int

    def __str__(self) -> str:
        rows, columns = self.rows * ROWS, self.columns * COLUMNS
        return f"{rows}x{columns} by {self.warps_down}x{self.warps_across}"

    @property
    def warps(self) -> int:
        """Warps of one part of K."""
        return self.warps_down * self.warps_across

    @property
    def block_rows(self) -> int:
        """Tiles of 16 rows of the whole block."""
        return self.rows * self.warps_down

    @property
    def block_columns(self) -> int:
        """Tiles of 8 columns of the whole block."""
        return self.columns * self.warps_across

    def shared_bytes(self, words: int, parts: int) -> int:
        """Count the shared memory for steps of so many words, or for the sums after them."""
        rows, columns = self.block_rows * ROWS, self.block_columns * COLUMNS
        steps = STAGES * (rows + columns) * words
        return _WORD_BYTES * parts * max(steps, rows * columns)


def rank_gemm_tiles(
    row_tiles: int, column_tiles: int, words: int, parts: int, on_bits: bool, target: CudaTarget
) -> list[GemmTile]:
    """List the tiles that fit; first the one that should take least time.

    Time is taken to be that of the rounds in which multiprocessors get their blocks, each of them
    multiplying and loading its tiles; no GPU has confirmed that yet.

    Parameters
    ----------
    row_tiles, column_tiles : int
        Tiles of 16 rows and of 8 columns in all.
    words : int
        Of a step along K.
    parts : int
        Of K, each summed by warps of its own.
    on_bits : bool
        Whether tensor cores multiply words, not ordinary ones numbers.
    target : CudaTarget
    """
    candidates = [
        GemmTile(rows, columns, down, across)
        for rows in _SIZES
        for columns in _SIZES[1:]
        for down in _SIZES
        for across in _SIZES
    ]
    most = _MOST_SUM_TILES if on_bits else _MOST_NUMBER_TILES
    few = [tile for tile in candidates if tile.rows * tile.columns <= most]
    fitting = [tile for tile in few if _fits(tile, row_tiles, column_tiles, words, parts, target)]

    def seconds(tile: GemmTile) -> tuple[float, int, str]:
        blocks = row_tiles // tile.block_rows * (column_tiles // tile.block_columns)
        rounds = -(-blocks // target.gpu.multiprocessors)
        loads = (tile.rows * ROWS + tile.columns * COLUMNS) / (tile.rows * tile.columns * COLUMNS)
        work = tile.block_rows * tile.block_columns * (1 + loads)
        idle = max(1.0, _ENOUGH_WARPS / (tile.warps * parts))
        return rounds * work * idle, -blocks, str(tile)

    return sorted(fitting, key=seconds)[:_MOST_OFFERED]


def _fits(
    tile: GemmTile, row_tiles: int, column_tiles: int, words: int, parts: int, target: CudaTarget
) -> bool:
    divides = row_tiles % tile.block_rows == 0 and column_tiles % tile.block_columns == 0
    words_wide = tile.block_columns * COLUMNS % target.word_bits == 0
    few = tile.warps * parts <= _MOST_WARPS
    room = tile.shared_bytes(words, parts) <= (target.gpu.block_shared_kib - _SPARE_KIB) * 1024
    return divides and words_wide and few and room
