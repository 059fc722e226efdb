"""How signs lie in words, for weights packed at compile time and for computed activations.

Bit j of word w is channel ``word_bits * w + j``; 1 stands for +1. The bits past the last channel
are 0 in activations and weights alike, so that they never disagree.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from .stages import PACK, RESULT, VALUE


def word_dtype(word_bits: int) -> str:
    """Name the dtype of a word: ``uint8`` or ``uint32``."""
    return f"uint{word_bits}"


def word_count(channels: int, word_bits: int) -> int:
    """Count the words of one pixel: whole 32-bit groups, whatever the word."""
    return -(-channels // 32) * (32 // word_bits)


def pack_signs(signs: np.ndarray, word_bits: int) -> np.ndarray:
    """Pack the last axis of an array of -1 and +1 into words.

    Parameters
    ----------
    signs : numpy.ndarray
        (..., channels).
    word_bits : int

    Returns
    -------
    numpy.ndarray
        (..., words), of the word's dtype.
    """
    groups = word_count(signs.shape[-1], 8)
    bits = np.zeros((*signs.shape[:-1], groups * 8), bool)
    bits[..., : signs.shape[-1]] = signs > 0
    octets = np.packbits(bits, axis=-1, bitorder="little")
    return octets.view(np.dtype(word_dtype(word_bits)).newbyteorder("<"))


def block_outputs(weight: np.ndarray, lanes: int, multiple: int) -> np.ndarray:
    """Lay weights out for kernels that compute ``lanes`` outputs side by side.

    Parameters
    ----------
    weight : numpy.ndarray
        (outputs, ...), numbers or words.
    lanes : int
    multiple : int
        Outputs are filled up with zeros to a multiple of this, itself a multiple of `lanes`.

    Returns
    -------
    numpy.ndarray
        (output blocks, ..., lanes).
    """
    filled = np.zeros((-(-weight.shape[0] // multiple) * multiple, *weight.shape[1:]), weight.dtype)
    filled[: weight.shape[0]] = weight
    split = filled.reshape(-1, lanes, *weight.shape[1:])
    return np.ascontiguousarray(np.moveaxis(split, 1, -1))


def bitpack(value: te.Tensor, word_bits: int) -> te.Tensor:
    """Pack the signs of the last axis: a bit is 1 unless the value is below 0.

    Parameters
    ----------
    value : te.Tensor
        (..., words * word_bits), int32 or float32.
    word_bits : int

    Returns
    -------
    te.Tensor
        (..., words), of the word's dtype.
    """
    dtype = word_dtype(word_bits)
    bit = te.reduce_axis((0, word_bits), "bit")

    def word(*index: Expr) -> Expr:
        *outer, w = index
        is_negative = value(*outer, w * word_bits + bit) < tirx.const(0, str(value.dtype))
        one = tirx.shift_left(tirx.const(1, dtype), bit.astype(dtype))
        return te.sum(tirx.Select(is_negative, tirx.const(0, dtype), one), axis=[bit])

    shape = (*value.shape[:-1], value.shape[-1] // word_bits)
    return te.compute(shape, word, name=PACK)


def pack_elements(
    element: Callable[..., Expr], shape: tuple[int, ...], word_bits: int
) -> te.Tensor:
    """Pack the signs of float32 elements; the bits past the last channel are 0.

    Parameters
    ----------
    element : callable
        Gives the number at an index.
    shape : tuple of int
        (..., channels), of what the elements make up.
    word_bits : int

    Returns
    -------
    te.Tensor
        (..., words), of the word's dtype.
    """
    *outer, channels = shape
    filled = word_count(channels, word_bits) * word_bits
    past = tirx.const(-1, "float32")

    def value(*index: Expr) -> Expr:
        if channels == filled:
            return element(*index)
        return tirx.if_then_else(index[-1] < channels, element(*index), past)

    return bitpack(te.compute((*outer, filled), value, name=VALUE), word_bits)


def pack_digits(
    index: Callable[..., Expr], shape: tuple[int, ...], planes: int, word_bits: int
) -> te.Tensor:
    """Pack the binary digits of integers into planes, the ones first.

    Parameters
    ----------
    index : callable
        Gives the int32 at an index, at least 0.
    shape : tuple of int
        (..., channels).
    planes : int
    word_bits : int

    Returns
    -------
    te.Tensor
        (..., planes * words); the bits past the last channel are 0.
    """
    *outer, channels = shape
    filled = word_count(channels, word_bits) * word_bits
    zero = tirx.const(0, "int32")

    def value(*at: Expr) -> Expr:
        *place, bit = at
        plane, channel = bit // filled, bit % filled
        inside = tirx.if_then_else(channel < channels, index(*place, channel), zero)
        digit = tirx.bitwise_and(tirx.shift_right(inside, plane), tirx.const(1, "int32"))
        return digit - 1

    return bitpack(te.compute((*outer, planes * filled), value, name=VALUE), word_bits)


def bitunpack(words: te.Tensor, channels: int) -> te.Tensor:
    """Turn packed signs back into numbers.

    Parameters
    ----------
    words : te.Tensor
        (..., words).
    channels : int

    Returns
    -------
    te.Tensor
        (..., channels) float32 of -1 and +1.
    """
    dtype = str(words.dtype)
    word_bits = int(dtype.removeprefix("uint"))

    def sign(*index: Expr) -> Expr:
        *outer, channel = index
        word = words(*outer, channel // word_bits)
        bit = tirx.shift_right(word, (channel % word_bits).astype(dtype)) & tirx.const(1, dtype)
        return tirx.const(2, "float32") * bit.astype("float32") - tirx.const(1, "float32")

    return te.compute((*words.shape[:-1], channels), sign, name=RESULT)
