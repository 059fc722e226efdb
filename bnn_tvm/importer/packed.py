"""Decodes the packed weights of BMXNet's converters, v1 and v2, 32 and 64 bits a word.

The words sit in a float array whose bits, not values, count: float32 for 32-bit words, float64
for 64-bit ones. Bit 1 is weight +1, bit 0 is -1, least significant bit first. The array's own
shape is nominal (v2) or flat (v1); the order of the words is the same.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import ModelError


def decode_convolution(words: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Decode a packed convolution weight: bits in the row-major order of the weight.

    Parameters
    ----------
    words : float32 or float64 array of any shape, holding 32-bit or 64-bit words
    shape : (O, I, KH, KW) of the weight

    Returns
    -------
    (O, I, KH, KW) float32 of -1 and +1

    Raises
    ------
    ModelError
        The words are not floats, or too few or too many for the shape.
    """
    return _signs(_lanes(words, shape).reshape(shape))


def decode_dense(words: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Decode a packed dense weight: word y * units + o holds inputs W y to W y + W - 1 of o.

    Parameters
    ----------
    words : float32 or float64 array of any shape, holding 32-bit or 64-bit words
    shape : (units, inputs) of the weight

    Returns
    -------
    (units, inputs) float32 of -1 and +1

    Raises
    ------
    ModelError
        The words are not floats, or too few or too many for the shape.
    """
    units, inputs = shape
    lanes = _lanes(words, shape)
    width = lanes.shape[-1]
    if inputs % width:
        raise ModelError(f"packed weight: {inputs} inputs are no multiple of the {width}-bit word")
    return _signs(lanes.reshape(-1, units, width).transpose(1, 0, 2).reshape(units, inputs))


def _lanes(words: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Spread words into bits: (words, word width) uint8, after checking that they fit."""
    if words.dtype not in (np.float32, np.float64):
        raise ModelError(f"packed weight: words must sit in float32 or float64, not {words.dtype}")
    width = words.dtype.itemsize * 8
    if words.size * width != math.prod(shape):
        raise ModelError(
            f"packed weight: {words.size} words of {width} bits cannot be a weight of shape "
            f"{shape}; check that the .params file and the input shape belong to this network"
        )
    octets = np.ascontiguousarray(words).reshape(-1).view(np.uint8)
    return np.unpackbits(octets, bitorder="little").reshape(-1, width)


def _signs(bits: np.ndarray) -> np.ndarray:
    return np.where(bits == 1, np.float32(1), np.float32(-1))
