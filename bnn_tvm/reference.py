"""What every kernel must compute, in plain numpy: slow, obvious, the oracle of the tests.

Activations are NHWC, weights OHWI (dense: units, inputs). A binary value is -1 or +1; as a bit,
1 stands for +1. Channels are packed into 32-bit words, least significant bit first.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

WORD_BITS = 32

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""Rows and columns added at (top, left, bottom, right)."""


def det_sign(x: np.ndarray) -> np.ndarray:
    """Binarize: -1 where ``x < 0``, else +1, so that 0, -0.0 and NaN give +1.

    Parameters
    ----------
    x : array of any shape and real dtype

    Returns
    -------
    array of the same shape, float32
    """
    return np.where(np.less(x, 0), np.float32(-1), np.float32(1))


def pack_channels(x: np.ndarray) -> np.ndarray:
    """Pack the signs of the last axis into words; a bit is 1 unless the value is below 0.

    Parameters
    ----------
    x : (..., C) array of any real dtype

    Returns
    -------
    (..., ceil(C / 32)) uint32; bit j of word w is channel 32 w + j, bits past C are 0
    """
    channels = x.shape[-1]
    words = -(-channels // WORD_BITS)
    bits = np.zeros((*x.shape[:-1], words * WORD_BITS), dtype=np.uint32)
    bits[..., :channels] = np.logical_not(np.less(x, 0))
    weight_of_bit = np.left_shift(np.uint32(1), np.arange(WORD_BITS, dtype=np.uint32))
    lanes = bits.reshape(*x.shape[:-1], words, WORD_BITS)
    return (lanes * weight_of_bit).sum(axis=-1, dtype=np.uint32)


def unpack_channels(words: np.ndarray, channels: int) -> np.ndarray:
    """Undo :func:`pack_channels`: (..., W) uint32 to (..., channels) float32 of -1 and +1."""
    bits = (words[..., None] >> np.arange(WORD_BITS, dtype=np.uint32)) & np.uint32(1)
    flat = bits.reshape(*words.shape[:-1], words.shape[-1] * WORD_BITS)
    return np.where(flat[..., :channels] == 1, np.float32(1), np.float32(-1))


def pad2d(x: np.ndarray, padding: Padding, value: float = 0.0) -> np.ndarray:
    """Surround the two middle axes of an NHWC array with ``value``."""
    top, left, bottom, right = padding
    widths = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(x, widths, constant_values=value)


def patches2d(x: np.ndarray, kernel: Pair, strides: Pair, dilation: Pair = (1, 1)) -> np.ndarray:
    """Gather the window under each output pixel (im2col).

    Parameters
    ----------
    x : (N, H, W, C) array, padded already

    Returns
    -------
    (N, OH, OW, KH, KW, C) view of ``x``
    """
    high, wide = ((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    windows = sliding_window_view(sliding_window_view(x, high, 1), wide, 2)
    strided = windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return np.moveaxis(strided, 3, -1)


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    strides: Pair = (1, 1),
    padding: Padding = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
    pad_value: float = 0.0,
) -> np.ndarray:
    """Convolve in float64.

    Parameters
    ----------
    x : (N, H, W, I) array
    w : (O, KH, KW, I / groups) array; output channel o belongs to group ``o // (O / groups)``

    Returns
    -------
    (N, OH, OW, O) float64
    """
    padded = pad2d(x.astype(np.float64), padding, pad_value)
    patches = patches2d(padded, w.shape[1:3], strides, dilation)
    parts = zip(
        np.split(patches, groups, axis=-1),
        np.split(w.astype(np.float64), groups, axis=0),
        strict=True,
    )
    return np.concatenate([np.einsum("nhwklc,oklc->nhwo", p, v) for p, v in parts], axis=-1)


def dense(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Multiply (N, I) by the transpose of (units, I), in float64."""
    return x.astype(np.float64) @ w.astype(np.float64).T


def popcount(words: np.ndarray) -> np.ndarray:
    """Count the ones in each uint32 word; the result is int32 of the same shape."""
    octets = np.ascontiguousarray(words)[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.int32)


def count_agreements(a_words: np.ndarray, b_words: np.ndarray, bits: int) -> np.ndarray:
    """Count the positions at which two packed vectors hold the same bit.

    Parameters
    ----------
    a_words, b_words : (..., W) uint32, broadcast against each other; tail bits are 0 in both
    bits : length of the vectors, at most 32 W

    Returns
    -------
    (...) int32 in 0..bits: popcount(xnor) without the tail, that is (dot + bits) / 2 of the
    vectors of -1 and +1
    """
    return np.int32(bits) - popcount(a_words ^ b_words).sum(axis=-1, dtype=np.int32)


def binary_conv2d(
    x_sign: np.ndarray,
    w_sign: np.ndarray,
    strides: Pair = (1, 1),
    padding: Padding = (0, 0, 0, 0),
    dilation: Pair = (1, 1),
    pad_value: int = -1,
) -> np.ndarray:
    """Convolve values of -1 and +1 by popcount; the border counts as ``pad_value``.

    Parameters
    ----------
    x_sign : (N, H, W, I) array of -1 and +1
    w_sign : (O, KH, KW, I) array of -1 and +1
    pad_value : -1 (BMXNet v2) or +1 (BMXNet v1)

    Returns
    -------
    (N, OH, OW, O) int32, the agreeing positions of each window: (dot + KH KW I) / 2
    """
    _, kernel_h, kernel_w, channels = w_sign.shape
    bits = kernel_h * kernel_w * channels
    padded = pad2d(x_sign, padding, pad_value)
    patches = patches2d(padded, (kernel_h, kernel_w), strides, dilation)
    rows = pack_channels(patches.reshape(*patches.shape[:3], bits))
    filters = pack_channels(w_sign.reshape(-1, bits))
    columns = [count_agreements(rows, one, bits) for one in filters]
    return np.stack(columns, axis=-1)


def binary_dense(x_sign: np.ndarray, w_sign: np.ndarray) -> np.ndarray:
    """Count agreeing positions of (N, I) and each row of (units, I): (N, units) int32."""
    rows, filters = pack_channels(x_sign), pack_channels(w_sign)
    return count_agreements(rows[:, None], filters[None], x_sign.shape[-1])


def batch_norm(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
    axis: int = -1,
) -> np.ndarray:
    """Normalise with the moving statistics: (x - mean) / sqrt(var + eps) * gamma + beta.

    The four parameters are (C,) along ``axis`` of ``x``; the result is float64.
    """
    shape = [1] * x.ndim
    shape[axis] = -1
    g, b, m, v = (p.astype(np.float64).reshape(shape) for p in (gamma, beta, mean, var))
    return (x.astype(np.float64) - m) / np.sqrt(v + eps) * g + b


def max_pool2d(
    x: np.ndarray, window: Pair, strides: Pair, padding: Padding = (0, 0, 0, 0)
) -> np.ndarray:
    """Take the maximum of each window of an NHWC array; padding is -inf."""
    lowest = -np.inf if np.issubdtype(x.dtype, np.floating) else np.iinfo(x.dtype).min
    return patches2d(pad2d(x, padding, lowest), window, strides).max(axis=(3, 4))


def avg_pool2d(
    x: np.ndarray,
    window: Pair,
    strides: Pair,
    padding: Padding = (0, 0, 0, 0),
    count_include_pad: bool = True,
) -> np.ndarray:
    """Average each window of an NHWC array in float64; padding is 0.

    ``count_include_pad`` divides by the size of the window, else by its part inside ``x``.
    """
    padded = pad2d(x.astype(np.float64), padding)
    sums = patches2d(padded, window, strides).sum(axis=(3, 4))
    if count_include_pad:
        return sums / (window[0] * window[1])
    inside = pad2d(np.ones((1, *x.shape[1:3], 1)), padding)
    return sums / patches2d(inside, window, strides).sum(axis=(3, 4))


def integer_threshold(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fold an affine map and a sign into one comparison of the popcount, per channel.

    Parameters
    ----------
    values : (K + 1, C) float array; ``values[p, c]`` is what is binarized when the count is p

    Returns
    -------
    threshold : (C,) int32 in 0..K + 1
    flipped : (C,) bool
        ``det_sign(values[p, c]) == +1`` if and only if ``(p >= threshold[c]) != flipped[c]``.
        A constant channel has threshold 0 (all +1) or K + 1 (all -1) and is not flipped.

    Raises
    ------
    ValueError
        The sign of some channel changes more than once over the counts.
    """
    positive = det_sign(values) > 0
    changes = (positive[1:] != positive[:-1]).sum(axis=0)
    if np.any(changes > 1):
        channels = np.flatnonzero(changes > 1).tolist()
        raise ValueError(f"the sign is not monotone in the count in channels {channels}")
    flipped = positive[0] & ~positive[-1]
    side = np.where(flipped, positive, ~positive)
    return side.sum(axis=0, dtype=np.int32), flipped
