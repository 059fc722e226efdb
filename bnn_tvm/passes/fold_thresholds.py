"""Pass: fold all that lies between a layer and a sign into one comparison per channel.

For the popcounts of a binary layer the fold is proven by evaluating every possible value; for
float values, by bisection over the ordered float32 numbers, which is exact because every
operation of the chain is monotone, its rounding included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .binary import is_one_bit, layer_shape
from .dataflow import (
    Emitter,
    constant_of,
    is_per_channel,
    is_tensor,
    op_name,
    rewrite_calls,
    shape_of,
)
from .evaluate import evaluate
from .negate_outputs import negate_outputs
from .sign import emit_sign, sign_operand

# With one operand constant, each of these is monotone in the other.
_MONOTONE = (
    "add", "subtract", "multiply", "divide", "maximum", "minimum",
    "negative", "tanh", "sigmoid", "nn.relu", "clip", "exp",
)  # fmt: skip
# Beyond any activation, yet far enough from overflow that products with a 0 stay 0.
_LARGEST = np.float32(1e30)

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Chain:
    """Elementwise operations between a source and a sign.

    Attributes
    ----------
    source : relax.Expr
        What the chain starts from.
    calls : tuple of relax.Call
        In order of execution; each reads the one before it and constants.
    """

    source: relax.Expr
    calls: tuple[relax.Call, ...]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map (values, channels) float32 to the value before the sign, of the same shape."""
        for call in self.calls:
            constants = iter(_per_channel(constant_of(arg)) for arg in call.args if is_tensor(arg))
            operands = [values if c is None else c for c in constants]
            values = evaluate(call, *operands)
        return values


def _per_channel(array: np.ndarray | None) -> np.ndarray | None:
    """View a constant that broadcasts over all axes but the last as (1, channels)."""
    return None if array is None else array.reshape(1, -1)


def _chain_link(call: Any) -> relax.Expr | None:
    """Return the operand that varies if a call can be a link of a chain, else None."""
    if op_name(call) not in _MONOTONE:
        return None
    tensors = [arg for arg in call.args if is_tensor(arg)]
    varying = [arg for arg in tensors if constant_of(arg) is None]
    constants = [constant_of(arg) for arg in tensors if constant_of(arg) is not None]
    if len(varying) != 1 or not all(is_per_channel(array) for array in constants):
        return None
    is_reciprocal = op_name(call) == "divide" and varying[0] is not tensors[0]
    return None if is_reciprocal else varying[0]


def _chain_to(emitter: Emitter, end: relax.Expr) -> Chain:
    """Follow elementwise operations upwards for as long as nothing else reads their results.

    Stops where an operation broadcasts: its channels are not those of its operand.
    """
    calls: list[relax.Call] = []
    while emitter.uses(end) == 1:
        call = emitter.value(end)
        link = _chain_link(call)
        if link is None or shape_of(link) != shape_of(end):
            break
        calls.append(call)
        end = link
    return Chain(end, tuple(reversed(calls)))


@dataclass(frozen=True)
class Threshold:
    """A sign per channel: +1 iff ``value >= at``, or iff ``value <= at`` where it is flipped.

    Attributes
    ----------
    at : numpy.ndarray
        (channels,) float32, -inf and +inf for constant channels.
    flipped : numpy.ndarray
        (channels,) bool.
    """

    at: np.ndarray
    flipped: np.ndarray


def threshold_of_counts(chain: Map, fan_in: int, channels: int) -> Threshold | None:
    """Fold a chain over the dot products of binary vectors, by trying all of them.

    Parameters
    ----------
    chain : callable
        Maps (values, channels) float32 to values before the sign.
    fan_in : int
        K: the dot products are -K, -K + 2, ..., K.
    channels : int

    Returns
    -------
    Threshold or None
        None if some channel changes its sign more than once. ``at`` is always one of the dot
        products, or K + 2 (-K - 2 where flipped) for a channel that is always -1.
    """
    dots = np.arange(-fan_in, fan_in + 1, 2, dtype=np.float32)
    bits = ~(chain(np.repeat(dots[:, None], channels, axis=1)) < 0)
    changes = (bits[1:] != bits[:-1]).sum(axis=0)
    if (changes > 1).any():
        return None
    flipped = bits[0] & ~bits[-1]
    ones = bits.sum(axis=0)
    rising = fan_in + 2 - 2 * ones
    falling = -fan_in - 2 + 2 * ones
    return Threshold(np.where(flipped, falling, rising).astype(np.float32), flipped)


def _ordered(integers: np.ndarray) -> np.ndarray:
    """Map int64 keys to float32 numbers so that larger keys give larger numbers."""
    magnitude = np.abs(integers).astype(np.uint32).view(np.float32)
    return np.where(integers < 0, -magnitude, magnitude).astype(np.float32)


def threshold_of_floats(chain: Map, channels: int) -> Threshold | None:
    """Fold a monotone chain over float32 values, by bisection in each channel.

    Parameters
    ----------
    chain : callable
        Maps (values, channels) float32 to values before the sign; monotone in each channel.
    channels : int

    Returns
    -------
    Threshold or None
        None if the chain gives no number for a large value: it is not monotone then.
    """
    ends = np.repeat([[-_LARGEST], [_LARGEST]], channels, axis=1)
    if np.isnan(chain(ends)).any():
        return None

    def bit(keys: np.ndarray) -> np.ndarray:
        return ~(chain(_ordered(keys)[None])[0] < 0)

    limit = int(np.array(_LARGEST).view(np.uint32))
    low, high = np.full(channels, -limit, np.int64), np.full(channels, limit, np.int64)
    at_low, at_high = bit(low), bit(high)
    while (high - low > 1).any():
        middle = (low + high) // 2
        like_low = bit(middle) == at_low
        low, high = np.where(like_low, middle, low), np.where(like_low, high, middle)
    flipped = at_low & ~at_high
    at = np.where(flipped, _ordered(low), _ordered(high))
    constant = at_low == at_high
    at[constant] = np.where(at_low[constant], -np.inf, np.inf)
    return Threshold(at.astype(np.float32), flipped)


def _broadcast(values: np.ndarray, like: relax.Expr) -> relax.Expr:
    return relax.const(values.reshape((1,) * (len(shape_of(like)) - 1) + (-1,)))


def _fold(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    operand = sign_operand(call, emitter.value)
    if operand is None:
        return None
    chain = _chain_to(emitter, operand)
    if not chain.calls or not shape_of(chain.source):
        return None
    threshold = _threshold(emitter, chain)
    return None if threshold is None else _compare(emitter, chain.source, threshold, name)


def _threshold(emitter: Emitter, chain: Chain) -> Threshold | None:
    channels = shape_of(chain.source)[-1]
    layer = emitter.value(chain.source)
    shape = layer_shape(layer, chain.source) if layer is not None else None
    if shape is not None and is_one_bit(layer, emitter.value):
        return threshold_of_counts(chain, shape.fan_in, channels)
    return threshold_of_floats(chain, channels)


def _compare(emitter: Emitter, source: relax.Expr, threshold: Threshold, name: str) -> relax.Call:
    """Build the sign of ``source - at``, negated before that in the flipped channels."""
    at, flipped = threshold.at, threshold.flipped
    layer = emitter.value(source)
    if (
        flipped.any()
        and layer is not None
        and layer_shape(layer, source)
        and emitter.uses(source) == 1
    ):
        source = emitter.emit(negate_outputs(layer, flipped), source.name)
        at, flipped = np.where(flipped, -at, at), np.zeros_like(flipped)
    margin = emitter.emit(relax.op.subtract(source, _broadcast(at, source)), f"{name}_margin")
    if flipped.any():
        signs = np.where(flipped, -1, 1).astype(np.float32)
        margin = emitter.emit(relax.op.multiply(margin, _broadcast(signs, source)), margin.name)
    return emit_sign(emitter, margin, name)


def fold_thresholds(mod: IRModule) -> IRModule:
    """Rewrite sign(f(x)) to sign(x - t), f a chain of monotone operations in each channel.

    Channels in which f falls are turned around by negating the weights of the layer that
    computes x, or the difference where x is no layer's output. Expects NHWC data.
    """
    return rewrite_calls(mod, _fold)
