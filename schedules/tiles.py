"""Choose the register tile of a kernel that accumulates pixels times vectors of channels."""

from __future__ import annotations

from dataclasses import dataclass

from bnn_tvm.target import Target

from .steps import largest_divisor

# Registers that are not accumulators: weights, a broadcast activation, temporaries.
_SPARE_REGISTERS = 4
# Fewer independent sums than this leave the arithmetic units waiting for each other.
ENOUGH_SUMS = 8


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

    @property
    def accumulators(self) -> int:
        """Count the registers that hold sums."""
        return self.pixels * self.vectors


def choose_tile(pixels: int, blocks: int, vector_step: int, target: Target) -> Tile:
    """Choose the tile that loads least for the sums it keeps.

    Each step of the reduction loads ``vectors`` weight vectors and ``pixels`` broadcast
    activations for ``pixels * vectors`` sums.

    Parameters
    ----------
    pixels : int
        Positions in a row.
    blocks : int
        Vectors of output channels.
    vector_step : int
        Vectors must come in multiples of this, to pack whole words.
    target : Target
    """
    limit = target.vector_registers - _SPARE_REGISTERS
    candidates = [
        Tile(_width(pixels, limit // vectors), vectors)
        for vectors in range(vector_step, min(blocks, limit) + 1, vector_step)
        if blocks % vectors == 0
    ]
    return min(candidates or [Tile(1, vector_step)], key=_cost)


def _width(pixels: int, at_most: int) -> int:
    """Prefer a divisor of the row; take a width that leaves a rest if divisors are small."""
    divisor = largest_divisor(pixels, at_most)
    return divisor if divisor * 2 > min(at_most, pixels) else min(at_most, pixels)


def _cost(tile: Tile) -> float:
    """Count the loads per sum, and punish too few sums to hide the latency of one."""
    loads = (tile.pixels + tile.vectors) / tile.accumulators
    return loads + max(0, ENOUGH_SUMS - tile.accumulators)
