"""Proof that tensors hold only a few levels, so that bit planes can stand for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from .dataflow import Constant, arguments, constant_of, number_of, op_name
from .sign import Lookup, is_scalar, sign_operand
from .windows import MAX_POOLS

# A result holds only values of its operands.
_COPYING = ("reshape", "permute_dims", "concat", "strided_slice", *MAX_POOLS)
MAX_BITS = 8


@dataclass(frozen=True)
class Levels:
    """Values that a quantized tensor can have, with ``V = 2**bits - 1``.

    Attributes
    ----------
    bits : int
        Bit planes that stand for a value: the binary digits of u.
    signed : bool
        Values are ``2 u / V - 1`` if true, else ``u / V``, for u in 0 ... V. One signed bit is
        -1 or +1.
    """

    bits: int
    signed: bool

    @property
    def top(self) -> int:
        """V, the largest u."""
        return (1 << self.bits) - 1

    @property
    def lowest(self) -> float:
        """The value of u = 0."""
        return -1.0 if self.signed else 0.0

    def index(self, values: np.ndarray) -> np.ndarray:
        """Return u of each value, as int64."""
        unit = (values.astype(np.float64) + 1) / 2 if self.signed else values.astype(np.float64)
        return np.rint(unit * self.top).astype(np.int64)

    def values(self, index: np.ndarray) -> np.ndarray:
        """Return the float64 value of each u."""
        unit = index / self.top
        return 2 * unit - 1 if self.signed else unit


SIGNS = Levels(1, True)


def weight_levels(weight: np.ndarray) -> Levels | None:
    """Find the fewest signed bits that hold all weights; None if more than eight are needed."""
    if not np.all(np.isfinite(weight)) or np.abs(weight).max(initial=0) > 1 + 1e-6:
        return None
    for bits in range(1, MAX_BITS + 1):
        levels = Levels(bits, True)
        if np.allclose(levels.values(levels.index(weight)), weight, rtol=0, atol=1e-6):
            return levels
    return None


def activation_levels(expr: relax.Expr, lookup: Lookup) -> Levels | None:
    """Prove which levels a tensor has; None if it may have any value.

    Parameters
    ----------
    expr : relax.Expr
        A variable or a constant.
    lookup : callable
        Gives the call that a variable holds.
    """
    if isinstance(expr, Constant):
        return weight_levels(expr.value.numpy())
    call = lookup(expr)
    if call is None:
        return None
    if sign_operand(call, lookup) is not None:
        return SIGNS
    name = op_name(call)
    if name == "nn.pad":
        inner = activation_levels(call.args[0], lookup)
        return inner if inner == SIGNS and abs(float(call.attrs.pad_value)) == 1 else None
    if name in _COPYING:
        tensors = [arg for arg in arguments(call) if isinstance(arg, relax.Var)]
        found = {activation_levels(tensor, lookup) for tensor in tensors}
        return found.pop() if len(found) == 1 else None
    return _unsigned_levels(call, lookup) or _signed_levels(call, lookup)


def holds_signs(expr: relax.Expr, lookup: Lookup) -> bool:
    """Prove that every value of a tensor is -1 or +1."""
    return activation_levels(expr, lookup) == SIGNS


def _unsigned_levels(call: Any, lookup: Lookup) -> Levels | None:
    """Recognize round(z V) / V with z in [0, 1]."""
    if op_name(call) != "divide":
        return None
    scaled = lookup(_round_operand(lookup(call.args[0]), lookup))
    if op_name(scaled) != "multiply":
        return None
    tops = [constant_of(call.args[1]), constant_of(scaled.args[1])]
    if any(top is None or top.size != 1 for top in tops):
        return None
    (first, second) = (float(top.item()) for top in tops)
    bits = int(first + 1).bit_length() - 1
    fits = first == second == (1 << bits) - 1 and 1 <= bits <= MAX_BITS
    return Levels(bits, False) if fits and _in_unit_interval(scaled.args[0], lookup) else None


def _signed_levels(call: Any, lookup: Lookup) -> Levels | None:
    """Recognize 2 q - 1 with q of unsigned levels."""
    if op_name(call) != "subtract" or not is_scalar(call.args[1], 1):
        return None
    doubled = lookup(call.args[0])
    if op_name(doubled) != "multiply" or not is_scalar(doubled.args[1], 2):
        return None
    inner = activation_levels(doubled.args[0], lookup)
    return Levels(inner.bits, True) if inner is not None and not inner.signed else None


def _round_operand(call: Any, lookup: Lookup) -> Any:
    """Return y if the call rounds y half away from zero, as the importer spells it, else None."""
    if op_name(call) != "add":
        return None
    whole, step = lookup(call.args[0]), lookup(call.args[1])
    if op_name(whole) != "trunc" or op_name(step) != "where" or not is_scalar(step.args[2], 0):
        return None
    y, sign, away = whole.args[0], lookup(step.args[1]), lookup(step.args[0])
    if op_name(sign) != "sign" or not sign.args[0].same_as(y) or op_name(away) != "greater_equal":
        return None
    rest = lookup(away.args[0])
    if op_name(rest) != "abs":
        return None
    fraction = lookup(rest.args[0])
    is_fraction = op_name(fraction) == "subtract" and fraction.args[0].same_as(y)
    return y if is_fraction and is_scalar(away.args[1], 0.5) else None


def _in_unit_interval(expr: relax.Expr, lookup: Lookup) -> bool:
    """Prove that all values lie in [0, 1]: a clip, or x / max|x| / 2 + 1/2."""
    call = lookup(expr)
    if op_name(call) == "clip":
        low, high = map(number_of, call.args[1:])
        return low >= 0 and high <= 1
    if op_name(call) != "add" or not is_scalar(call.args[1], 0.5):
        return False
    half = lookup(call.args[0])
    if op_name(half) != "multiply" or not is_scalar(half.args[1], 0.5):
        return False
    quotient = lookup(half.args[0])
    return op_name(quotient) == "divide" and _is_largest_magnitude(
        quotient.args[1], quotient.args[0], lookup
    )


def _is_largest_magnitude(expr: relax.Expr, of: relax.Expr, lookup: Lookup) -> bool:
    """Tell whether an expression is max(|x|) over all of a tensor."""
    call = lookup(expr)
    while op_name(call) in ("reshape", "permute_dims"):
        call = lookup(call.args[0])
    return op_name(call) == "max" and _is_magnitude(call.args[0], of, lookup)


def _is_magnitude(expr: relax.Expr, of: relax.Expr, lookup: Lookup) -> bool:
    """Tell whether an expression is |x| of a tensor, or that of each piece of a concatenation."""
    call, source = lookup(expr), lookup(of)
    if op_name(call) == "abs":
        return call.args[0].same_as(of)
    if op_name(call) != "concat" or op_name(source) != "concat":
        return False
    parts, pieces = arguments(call), arguments(source)
    return (
        call.attrs.axis == source.attrs.axis
        and len(parts) == len(pieces)
        and all(
            _is_magnitude(part, piece, lookup) for part, piece in zip(parts, pieces, strict=True)
        )
    )
