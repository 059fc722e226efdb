"""Binary convolution as naive loops over numpy arrays, and its gradients."""

from collections.abc import Iterator

import numpy as np


def windows(
    shape: tuple[int, ...], kernel: tuple[int, ...], stride: int, dilation: int
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Yield each output position and the slices of the (padded) input that it sees."""
    reach = [dilation * (k - 1) + 1 for k in kernel]
    out_shape = [(s - r) // stride + 1 for s, r in zip(shape, reach, strict=True)]
    for position in np.ndindex(*out_shape):
        yield (
            position,
            tuple(
                slice(p * stride, p * stride + r, dilation)
                for p, r in zip(position, reach, strict=True)
            ),
        )


def output_shape(x: np.ndarray, w: np.ndarray, stride: int, dilation: int) -> tuple[int, ...]:
    last, _ = list(windows(x.shape[2:], w.shape[2:], stride, dilation))[-1]
    return (x.shape[0], w.shape[0], *(p + 1 for p in last))


def pad(x: np.ndarray, padding: int, value: float) -> np.ndarray:
    widths = [(0, 0), (0, 0)] + [(padding, padding)] * (x.ndim - 2)
    return np.pad(x, widths, constant_values=value)


def popcount_conv(
    x: np.ndarray, w: np.ndarray, stride: int = 1, padding: int = 0, dilation: int = 1, groups=1
) -> np.ndarray:
    """Count equal bits of -1/+1 operands; the padding is the bit 0."""
    x_bits, w_bits = pad(x > 0, padding, False), w > 0
    out = np.zeros(output_shape(x_bits, w_bits, stride, dilation))
    inputs, outputs = x.shape[1] // groups, w.shape[0] // groups
    for position, window in windows(x_bits.shape[2:], w.shape[2:], stride, dilation):
        for n, o in np.ndindex(out.shape[:2]):
            group = o // outputs
            seen = x_bits[(n, slice(group * inputs, (group + 1) * inputs), *window)]
            out[(n, o, *position)] = sum(
                ~(a ^ b) & 1 for a, b in zip(seen.flat, w_bits[o].flat, strict=True)
            )
    return out


def conv_gradients(
    x: np.ndarray, w: np.ndarray, head: np.ndarray, stride: int = 1, padding: int = 0, pad_value=-1
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a plain convolution with respect to x and w, given the output's gradient."""
    padded = pad(x, padding, pad_value)
    dx, dw = np.zeros_like(padded), np.zeros_like(w)
    for position, window in windows(padded.shape[2:], w.shape[2:], stride, 1):
        for n, o in np.ndindex(head.shape[:2]):
            where = (n, slice(None), *window)
            dx[where] += head[(n, o, *position)] * w[o]
            dw[o] += head[(n, o, *position)] * padded[where]
    inner = tuple(slice(padding, size - padding) for size in padded.shape[2:])
    return dx[(slice(None), slice(None), *inner)], dw
