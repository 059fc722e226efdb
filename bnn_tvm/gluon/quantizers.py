"""The quantizer of every method name, and the methods that each bit width allows."""

from __future__ import annotations

from collections.abc import Callable

from . import functions
from .functions import Tensor, operators_of

Quantizer = Callable[[Tensor], Tensor]
QuantizerOfBits = Callable[[Tensor, int], Tensor]

_LEAKY_SLOPE = 0.1


def _relu(x: Tensor, bits: int) -> Tensor:
    return operators_of(x).relu(x)


def _clip(x: Tensor, bits: int) -> Tensor:
    return operators_of(x).clip(x, -1, 1)


def _leaky_clip(x: Tensor, bits: int) -> Tensor:
    # The outer slope goes through the origin, so the function jumps at -1 and +1.
    ops = operators_of(x)
    return ops.where(ops.abs(x) <= 1, x, _LEAKY_SLOPE * x)


def _smooth_sign(x: Tensor, bits: int) -> Tensor:
    # 2x + x^2 below zero and 2x - x^2 above; both reach the value and the slope of a constant at 1.
    ops = operators_of(x)
    limited = ops.clip(x, -1, 1)
    return 2 * limited - limited * ops.abs(limited)


def _levels(bits: int) -> int:
    return 2**bits - 1


def _round(x: Tensor, bits: int) -> Tensor:
    scaled = operators_of(x).clip(x, 0, 1) * _levels(bits)
    return functions.round_ste(scaled) / _levels(bits)


def _dorefa(x: Tensor, bits: int) -> Tensor:
    ops = operators_of(x)
    squashed = ops.tanh(x)
    unit = 0.5 * ops.broadcast_div(squashed, ops.max(ops.abs(squashed))) + 0.5
    return 2 * (functions.round_ste(unit * _levels(bits)) / _levels(bits)) - 1


_QUANTIZERS: dict[str, QuantizerOfBits] = {
    "identity": lambda x, bits: x,
    "relu": _relu,
    "clip": _clip,
    "leaky_clip": _leaky_clip,
    "approx_sign": _smooth_sign,
    "det_sign": lambda x, bits: functions.det_sign(x),
    "sign_approx_sign": lambda x, bits: functions.approx_sign(x),
    "round": _round,
    "dorefa": _dorefa,
}

# The first method of a row is the default of its bit width.
_ACTIVATIONS = {
    1: ("det_sign", "sign_approx_sign", "round"),
    32: ("relu", "identity", "approx_sign", "clip", "leaky_clip"),
}
_OTHER_ACTIVATIONS = ("round", "dorefa")
_WEIGHTS = {1: ("det_sign", "sign_approx_sign"), 32: ("identity",)}
_OTHER_WEIGHTS = ("dorefa",)


def activation_methods(bits: int) -> tuple[str, ...]:
    """Names of the activation quantizers that a bit width allows, the default first."""
    return _ACTIVATIONS.get(bits, _OTHER_ACTIVATIONS)


def weight_methods(bits: int) -> tuple[str, ...]:
    """Names of the weight quantizers that a bit width allows, the default first."""
    return _WEIGHTS.get(bits, _OTHER_WEIGHTS)


def _quantizer(method: str, bits: int, allowed: tuple[str, ...], kind: str) -> Quantizer:
    assert method in allowed, (
        f"Combination of method '{method}' and bits={bits} is not supported for {kind}! "
        f"Choose one of: {', '.join(allowed)}."
    )
    function = _QUANTIZERS[method]
    return lambda x: function(x, bits)


def activation_quantizer(method: str, bits: int) -> Quantizer:
    """Return the function that quantizes activations.

    Parameters
    ----------
    method : str
        One of :func:`activation_methods`.
    bits : int
        1 for -1/+1 (or 0/1 with ``round``), 32 for full precision, else ``2**bits`` levels.

    Raises
    ------
    AssertionError
        The method does not fit the bit width (the type of error is BMXNet v2's).
    """
    return _quantizer(method, bits, activation_methods(bits), "activations")


def weight_quantizer(method: str, bits: int) -> Quantizer:
    """Return the function that quantizes weights; see :func:`activation_quantizer`."""
    return _quantizer(method, bits, weight_methods(bits), "weights")
