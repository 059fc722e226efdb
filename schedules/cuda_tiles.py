"""Choose how much of a product of matrices a block of threads computes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bnn_tvm.kernels.gemm import AND, COLUMNS, PRODUCT, ROWS
from bnn_tvm.kernels.popcount_sums import Planes
from bnn_tvm.target import CudaTarget

from .cuda_rows import LANES
from .cuda_wgmma import MOST_COLUMNS, WARPS

STAGES = (3, 2, 4, 6)
"""Steps of K in shared memory: one that is multiplied, and those that are copied meanwhile."""

_WORD_BYTES = 4
# For the ones of each row, beside steps and sums.
_SPARE_KIB = 1
# Tiles of 4 registers a thread each: of tensor cores, and of others, which keep operands as well.
_MOST_SUM_TILES, _MOST_NUMBER_TILES = 32, 16
_MOST_WARPS = 8
# Warps that keep the four tensor cores of a multiprocessor busy.
_ENOUGH_WARPS = 4
# Fewer where blocks share K: the search is for the number of these first.
_MOST_OFFERED, _MOST_OFFERED_SPLIT = 8, 4
_SIZES = (1, 2, 4, 8)
# Tiles of columns of a warpgroup, and warps along rows and columns: whole warpgroups.
_GROUP_COLUMNS, _GROUP_DOWN, _GROUP_ACROSS = (4, 8, 16, 32), (WARPS, 2 * WARPS), (1, 2, 4)
_MOST_GROUP_WARPS = 32
# Registers of a thread for all but its sums.
_OTHER_REGISTERS = 48


@dataclass(frozen=True)
class GemmTile:
    """How a block of threads divides its work among warps.

    Attributes
    ----------
    rows, columns : int
        Tiles of 16 rows and of 8 columns that one warp multiplies.
    warps_down, warps_across : int
        Warps along rows and along columns.
    in_groups : bool
        Whether four warps along rows multiply by one instruction.
    """

    rows: int
    columns: int
    warps_down: int
    warps_across: int
    in_groups: bool = False

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

    @property
    def loads(self) -> float:
        """Loads for each product: of a warp, or of a warpgroup's instruction and of the block."""
        if not self.in_groups:
            return _loads(self.rows, self.columns)
        group = _loads(self.rows * WARPS, self.columns)
        return group + _loads(self.block_rows, self.block_columns)

    def shared_bytes(self, size: GemmSize, stages: int) -> int:
        """Count the shared memory for steps that are there at once, or for the sums after them."""
        rows, columns = self.block_rows * ROWS, self.block_columns * COLUMNS
        steps = stages * (rows + columns) * size.words
        return _WORD_BYTES * size.parts * max(steps, rows * columns)


def _loads(rows: int, columns: int) -> float:
    """Count what is loaded for tiles of rows and of columns, for each row and tile of columns."""
    return (rows * ROWS + columns * COLUMNS) / (rows * columns * COLUMNS)


@dataclass(frozen=True)
class GemmSize:
    """A product of matrices.

    Attributes
    ----------
    row_tiles, column_tiles : int
        Tiles of 16 rows and of 8 columns in all planes.
    words : int
        Of a step along K.
    parts : int
        Of K, each summed by warps of its own in the same block.
    splits : int
        Blocks that sum parts of K apart.
    planes : Planes
    form : str
        What is summed; ordinary cores multiply numbers, tensor cores all else.
    """

    row_tiles: int
    column_tiles: int
    words: int
    parts: int
    splits: int
    planes: Planes
    form: str


def rank_gemm_tiles(size: GemmSize, target: CudaTarget) -> list[GemmTile]:
    """List the tiles of warps that fit; first the one that should take least time.

    Time is taken to be that of the rounds in which multiprocessors get their blocks, each of them
    multiplying and loading its tiles; no GPU has confirmed that yet.
    """
    return _rank(_candidates(size), size, target)


def rank_group_tiles(size: GemmSize, target: CudaTarget) -> list[GemmTile]:
    """List the tiles of warpgroups that fit, as `rank_gemm_tiles` does those of warps.

    There are none where the GPU has no instruction for warpgroups, or that does not take the
    numbers.
    """
    takes = target.gpu.warpgroup_mma and size.form == AND
    return _rank(_group_candidates(size, target), size, target) if takes else []


def _rank(tiles: Iterable[GemmTile], size: GemmSize, target: CudaTarget) -> list[GemmTile]:
    def seconds(tile: GemmTile) -> tuple[float, int, str]:
        down, across = size.row_tiles // tile.block_rows, size.column_tiles // tile.block_columns
        blocks = down * across * size.splits
        rounds = -(-blocks // target.gpu.multiprocessors)
        work = tile.block_rows * tile.block_columns * (1 + tile.loads)
        idle = max(1.0, _ENOUGH_WARPS / (tile.warps * size.parts))
        return rounds * work * idle, -blocks, str(tile)

    fitting = [tile for tile in tiles if _fits(tile, size, target)]
    most = _MOST_OFFERED if size.splits == 1 else _MOST_OFFERED_SPLIT
    return sorted(fitting, key=seconds)[:most]


def _candidates(size: GemmSize) -> Iterator[GemmTile]:
    """List tiles whose sums registers hold, in multiples of what planes do not halve evenly."""
    rows_of, columns_of = _odd_part(size.planes.data), _odd_part(size.planes.weight)
    most = _MOST_NUMBER_TILES if size.form == PRODUCT else _MOST_SUM_TILES
    for rows, columns in itertools.product(_SIZES, _SIZES):
        in_registers = rows * rows_of * columns * columns_of <= most
        if not in_registers or columns * columns_of == 1:
            continue
        for down, across in itertools.product(_SIZES, _SIZES):
            yield GemmTile(rows * rows_of, columns * columns_of, down, across)


def _group_candidates(size: GemmSize, target: CudaTarget) -> Iterator[GemmTile]:
    """List tiles of warpgroups: 16 rows of each warp, and as many columns as there is room for."""
    columns_of = _odd_part(size.planes.weight)
    for columns, down, across in itertools.product(_GROUP_COLUMNS, _GROUP_DOWN, _GROUP_ACROSS):
        tile = GemmTile(1, columns * columns_of, down, across, in_groups=True)
        threads = tile.warps * size.parts * LANES
        registers = tile.columns * COLUMNS // 2 + _OTHER_REGISTERS
        if tile.columns <= MOST_COLUMNS and registers * threads <= target.gpu.registers:
            yield tile


def _odd_part(number: int) -> int:
    return number // (number & -number)


def _fits(tile: GemmTile, size: GemmSize, target: CudaTarget) -> bool:
    planes = size.planes
    whole = tile.block_rows % planes.data == 0 and tile.block_columns % planes.weight == 0
    down, across = size.row_tiles % tile.block_rows, size.column_tiles % tile.block_columns
    words_wide = tile.block_columns // planes.weight * COLUMNS % target.word_bits == 0
    few = tile.warps * size.parts <= (_MOST_GROUP_WARPS if tile.in_groups else _MOST_WARPS)
    room = _has_room(tile, STAGES[0], size, target)
    return whole and not down and not across and words_wide and few and room


def _has_room(tile: GemmTile, stages: int, size: GemmSize, target: CudaTarget) -> bool:
    limit = (target.gpu.block_shared_kib - _SPARE_KIB) * 1024
    return tile.shared_bytes(size, stages) <= limit


def list_stages(tile: GemmTile, steps: int, size: GemmSize, target: CudaTarget) -> list[int]:
    """List how many of so many steps may be in shared memory at once."""
    usual, *others = STAGES
    fitting = [n for n in others if n <= steps and _has_room(tile, n, size, target)]
    return [min(usual, steps), *(n for n in fitting if n != steps or n > usual)]
