"""Layers on packed bits, in the form that suits the processor."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import te
from tvm.ir import Expr

from bnn_tvm.kernels import bitserial, gemm, k_major
from bnn_tvm.kernels.bits import pack_signs, word_count
from bnn_tvm.kernels.border import Element, SkippedBorder, nearest_row
from bnn_tvm.kernels.carry_save import come_in_pairs, start_pairs
from bnn_tvm.kernels.geometry import Extents, Window
from bnn_tvm.kernels.integers import Integers
from bnn_tvm.kernels.popcount_sums import Planes
from bnn_tvm.kernels.stages import SKIPPED, WEIGHT
from bnn_tvm.target import Target

from .border_weights import correct_border, count_skipped, share_outside
from .gemm_layers import GemmLayers
from .layer_weights import Blocking, PackedWeight, pack_weight
from .levels import Levels

# What skipping padding must save, of the words that a layer reads, to be worth a table on boards:
# ResNetE18 as C would take 4.43 MB and not 4.40 with those of maps above 7x7, which save 0.8 % of
# its instructions.
_LEAST_SHARE_ON_BOARDS = 0.1
# The same where pairs of words are counted, since tiles and rows ask where they are: blocks of 3x3
# took 1.004 of the time at 56x56x64, where 2.4 % is saved, and 0.988 at 28x28x128, where 4.7 % is.
_LEAST_SHARE_IN_PAIRS = 0.04


@dataclass(frozen=True)
class BitSums:
    """What a layer on bits counts, and what its dot product is of that.

    Attributes
    ----------
    disagreements : Integers
        At an index (N, *positions, outputs), as `PackedWeight` weighs them.
    packed : PackedWeight
    correction : callable, optional
        Gives what the border adds to the dot product, where its bits do not stand for the
        padding's value.
    skipped : SkippedBorder, optional
        Padding that is not read: sums are still to start with what it counts for.
    """

    disagreements: Integers
    packed: PackedWeight
    correction: Element | None = None
    skipped: SkippedBorder | None = None

    @property
    def of_signs(self) -> bool:
        """Whether data, weights and padding all are -1 and +1."""
        signed = self.packed.slope == 2
        return signed and self.packed.planes == Planes() and self.correction is None


@dataclass(frozen=True)
class BitLayers:
    """Makes layers on bits, with their operands.

    Attributes
    ----------
    target : Target
    blocking : Blocking
    levels : Levels
        Of the data.
    gemm : GemmLayers, optional
        Multiplies matrices, on GPUs.
    constant : callable
        Makes an operand of an array, with a name.
    """

    target: Target
    blocking: Blocking
    levels: Levels
    gemm: GemmLayers | None
    constant: Callable[..., te.Tensor]

    def convolve(
        self,
        data: te.Tensor,
        shape: Extents,
        weight: np.ndarray,
        groups: int,
        window: Window,
        pad_value: float,
    ) -> BitSums:
        """Convolve packed bits.

        Parameters
        ----------
        data : te.Tensor
            (N, *extents, planes * words).
        shape : tuple of int
            (N, *extents, C), of the numbers that the bits stand for.
        weight : numpy.ndarray
            (outputs, *kernel, inputs of a group) float32, of signed levels.
        groups : int
        window : Window
        pad_value : float
            What the padding holds.
        """
        *extents, channels = shape[1:]
        packed, bits = self._pack(weight, groups), self.target.word_bits
        words = word_count(channels, bits)
        is_one = pad_value == 1
        border = bitserial.border_word(channels, bits, words, int(is_one))
        axes = self._skipped_axes(packed, window, tuple(extents))
        skipped = SkippedBorder.along(axes, window, tuple(extents)) if any(axes) else None
        if skipped is not None:
            pixel = pack_signs(np.full(channels, is_one), bits)
            counted = count_skipped(packed.words, skipped, pixel)
            self.constant(self._start(packed, counted), SKIPPED)
        counts = self._count_windows(data, packed, window, border, axes)
        correction = self._border_correction(weight, window, tuple(extents), pad_value)
        return BitSums(counts, packed, correction, skipped)

    def multiply_rows(self, data: te.Tensor, weight: np.ndarray) -> BitSums:
        """Multiply rows of packed bits by weights of (outputs, *inputs) float32."""
        packed = self._pack(weight, 1)
        return BitSums(self._count_rows(data, packed), packed)

    def _pack(self, weight: np.ndarray, groups: int) -> PackedWeight:
        return pack_weight(weight, self.levels, groups, self.blocking, self.target.word_bits)

    def _skipped_axes(
        self, packed: PackedWeight, window: Window, extents: Extents
    ) -> tuple[bool, ...]:
        """Tell along which axes padding is not read: of single planes, all words of which are used.

        Registers that hold several outputs repeat pixels, which neighbouring columns share.
        """
        allowed = packed.mask is None and packed.groups.step == 0 and packed.planes == Planes()
        allowed &= share_outside(window, extents) >= self._least_share
        if self.target.counts_along_k:
            allowed &= k_major.fills_registers(packed.words.shape[-2])
        rows, columns = allowed and self.target.skips_rows, allowed and self.target.skips_columns
        wanted = [*[rows] * (len(extents) - 1), columns]
        padded = zip(wanted, window.before, window.after, strict=True)
        return tuple(skips and before + after > 0 for skips, before, after in padded)

    @property
    def _least_share(self) -> float:
        """What padding must be of all that windows read, to be skipped."""
        if self.target.counts_along_k:
            return _LEAST_SHARE_ON_BOARDS
        return _LEAST_SHARE_IN_PAIRS if self.target.counts_pairs else 0.0

    def _start(self, packed: PackedWeight, counted: np.ndarray) -> np.ndarray:
        """Give what sums start with, in the form that they are counted in."""
        *kernel, words = packed.words.shape[1:-1]
        if self.target.counts_pairs and come_in_pairs(words):
            return start_pairs(counted, math.prod(kernel) * words * self.target.word_bits)
        # Bytes are summed in 16 bits, if those hold all sums.
        by_byte = self.target.word_bits == 8 or self.target.counts_along_k
        fits = by_byte and counted.max() < 1 << 16
        return counted.astype(np.uint16) if fits else counted

    def _count_windows(
        self,
        data: te.Tensor,
        packed: PackedWeight,
        window: Window,
        border: Callable[[Expr], Expr],
        skipped: tuple[bool, ...],
    ) -> Integers:
        planes = packed.planes
        if self.gemm is not None and self.gemm.fits(packed):
            windows = gemm.conv_windows(data, _extents(data), window, border, planes.data)
            return self.gemm.count(windows, packed)
        if self.target.counts_along_k and packed.mask is None and packed.groups.step == 0:
            weight = self._weight_along_k(packed)
            counts = k_major.bitserial_conv(data, weight, window, planes, border, skipped)
            return counts.seen_as(self.blocking.as_channels)
        weight = self.constant(packed.words, WEIGHT)
        mask = None if packed.mask is None else self.constant(packed.mask)
        counts = bitserial.bitserial_conv(
            data,
            weight,
            window,
            planes,
            packed.groups,
            border,
            mask,
            skipped=skipped,
            carry_save=self.target.counts_pairs,
        )
        return counts.seen_as(self.blocking.as_channels)

    def _count_rows(self, data: te.Tensor, packed: PackedWeight) -> Integers:
        planes = packed.planes
        if self.gemm is not None and self.gemm.fits(packed):
            return self.gemm.count(gemm.dense_windows(data, _extents(data), planes.data), packed)
        if self.target.counts_along_k:
            counts = k_major.bitserial_dense(data, self._weight_along_k(packed), planes)
            return counts.seen_as(self.blocking.as_channels)
        weight, carry_save = self.constant(packed.words, WEIGHT), self.target.counts_pairs
        counts = bitserial.bitserial_dense(data, weight, planes, carry_save=carry_save)
        return counts.seen_as(self.blocking.as_channels)

    def _weight_along_k(self, packed: PackedWeight) -> te.Tensor:
        return self.constant(k_major.lay_along_k(packed.words, packed.planes.weight), WEIGHT)

    def _border_correction(
        self, weight: np.ndarray, window: Window, extents: Extents, pad_value: float
    ) -> Element | None:
        stands_for = 1.0 if pad_value == 1 else self.levels.lowest
        if not window.is_padded or pad_value == stands_for:
            return None
        correction = correct_border(weight, window, extents, pad_value - stands_for)
        table = self.constant(correction.table)
        classes = [self.constant(numbers) for numbers in correction.classes]
        return lambda *index: table(*map(nearest_row, table.shape, classes, index[1:-1]), index[-1])


def _extents(data: te.Tensor) -> Extents:
    return tuple(int(extent) for extent in data.shape)
