"""Choose the register tile of a kernel that accumulates pixels times vectors of channels."""

from __future__ import annotations

from dataclasses import dataclass

from bnn_tvm.target import Target

# Registers that are not accumulators: weights, a broadcast activation, temporaries.
_SPARE_REGISTERS = 4
# Registers that hold neither sums nor weights: a broadcast activation, a temporary.
_SPARE_DOT_REGISTERS = 2
# What counting bits takes beside them: a table, a mask, and halves of bytes.
_POPCOUNT_REGISTERS = {"pshufb": 4}
# Fewer independent sums than this leave the arithmetic units waiting for each other.
ENOUGH_SUMS = 8
# What a load costs of the time that adding to a sum takes, by the registers of a sum.
_LOAD_COSTS = {1: 1.0, 2: 0.4}
# Of sums that take one to three instructions an addend: as many loads as a multiply-add leaves
# time for, so many sums that none waits for the one before it, and the cost of each that makes the
# tile larger. A small tile ends while the next one begins: 7x2 took 5 to 6 % less time than 7x4 in
# the stem and three downsamplings of ResNetE18 (4x4: 2 % less) on a Xeon with AVX-512, and on bits
# counted word by word at 14x14x256 97.3 us instead of 109 to 130 on a Zen 4.
_FREE_LOADS = 0.75
_ENOUGH_SHORT_SUMS = 12
_SHORT_SUM_COST = 0.002


@dataclass(frozen=True)
class Tile:
    """Accumulators that stay in registers.

    Attributes
    ----------
    pixels : int
        Neighbouring positions (or batch rows of a dense layer).
    vectors : int
        Vectors of output channels.
    """

    pixels: int
    vectors: int

    def __str__(self) -> str:
        return f"{self.pixels}x{self.vectors}"

    @property
    def accumulators(self) -> int:
        """Count the registers that hold sums."""
        return self.pixels * self.vectors


def rank_tiles(
    pixels: int, blocks: int, vector_step: int, registers_per_sum: int, target: Target
) -> list[Tile]:
    """List the tiles that fit the registers; first the one that loads least for its sums.

    Each step of the reduction loads ``vectors`` weight vectors and ``pixels`` broadcast
    activations for ``pixels * vectors`` sums.

    Parameters
    ----------
    pixels : int
        Positions in a row.
    blocks : int
        Vectors of output channels.
    vector_step : int
        Vectors whose channels fill a word, where words are packed: they are computed together or
        one after the other before the word is.
    registers_per_sum : int
        What one sum takes: two where a running parity belongs to it.
    target : Target
    """
    spare = _SPARE_REGISTERS + _POPCOUNT_REGISTERS.get(target.native_popcount, 0)
    room = (target.vector_registers - spare) // registers_per_sum

    def most_pixels(vectors: int) -> int:
        """Leave registers for the weights of the words that are counted together."""
        return room // vectors - (registers_per_sum - 1)

    tiles = {
        Tile(width, vectors)
        for vectors in _divisors(blocks, vector_step, room)
        for width in _even_widths(pixels, most_pixels(vectors))
    }

    def rank(tile: Tile) -> tuple[float, int]:
        return _cost(tile, pixels, registers_per_sum), -tile.vectors

    return sorted(tiles or {Tile(1, 1)}, key=rank)


def rank_small_tiles(pixels: int, blocks: int, vector_step: int, target: Target) -> list[Tile]:
    """List tiles for sums of floats, or of words counted one by one; first the smallest fast one.

    Takes what `rank_tiles` takes. A single pixel, a dense layer at batch 1, waits for its weights:
    fewer streams of them come faster (1x1 took 0.85 of the time of 1x21 for 512 to 1000).
    """
    room = target.vector_registers - _SPARE_REGISTERS
    tiles = {
        Tile(width, vectors)
        for vectors in _divisors(blocks, vector_step, room)
        for width in _even_widths(pixels, room // vectors)
    }
    return sorted(
        tiles or {Tile(1, 1)}, key=lambda tile: (_small_tile_cost(tile, pixels), -tile.vectors)
    )


def rank_dot_tiles(pixels: int, blocks: int, vector_step: int, target: Target) -> list[Tile]:
    """List tiles for instructions that take broadcast activations from registers only.

    The weights of a step stay in registers, beside one activation; tiles divide the row. The one
    that loads least for its sums comes first.
    """
    room = target.vector_registers - _SPARE_DOT_REGISTERS
    candidates = [
        Tile(width, vectors)
        for vectors in range(vector_step, blocks + 1, vector_step)
        for width in range(1, (room - vectors) // vectors + 1)
        if blocks % vectors == 0 and pixels % width == 0
    ]
    return sorted(candidates or [Tile(1, vector_step)], key=_loads)


def _divisors(blocks: int, step: int, at_most: int) -> list[int]:
    """List the divisors of a number of vectors that are a multiple or divisor of a step."""
    return [
        vectors
        for vectors in range(1, min(blocks, at_most) + 1)
        if blocks % vectors == 0 and (vectors % step == 0 or step % vectors == 0)
    ]


def _even_widths(pixels: int, at_most: int) -> set[int]:
    """List, for each number of tiles in a row, the width that divides it most evenly."""
    return {width for n in range(1, pixels + 1) if (width := -(-pixels // n)) <= at_most}


def _cost(tile: Tile, pixels: int, registers_per_sum: int) -> float:
    """Count the loads per sum, and punish too few sums to hide the latency of one.

    Sums of pixels past the end of a row are computed in vain. Where two words are counted
    together, their five instructions leave time for more loads and for more latency.
    """
    missing = max(0, ENOUGH_SUMS // registers_per_sum - tile.accumulators)
    return (1 + _loads(tile) * _LOAD_COSTS[registers_per_sum]) * _waste(tile, pixels) + missing


def _small_tile_cost(tile: Tile, pixels: int) -> float:
    """Estimate the time of a sum, relative to one that waits for nothing."""
    if pixels == 1:
        return tile.vectors
    too_few = max(1.0, _ENOUGH_SHORT_SUMS / tile.accumulators)
    loads = max(0.0, _loads(tile) - _FREE_LOADS)
    return too_few * (1 + loads) * _waste(tile, pixels) + _SHORT_SUM_COST * tile.accumulators


def _waste(tile: Tile, pixels: int) -> float:
    """Divide the pixels that tiles compute, past the end of a row too, by those of the row."""
    return -(-pixels // tile.pixels) * tile.pixels / pixels


def _loads(tile: Tile) -> float:
    """Count the loads per sum."""
    return (tile.pixels + tile.vectors) / tile.accumulators
