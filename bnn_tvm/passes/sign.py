"""The binarization that passes look for: ``where(less(x, 0), -1, 1)``, so that sign(0) = +1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax

from .dataflow import Emitter, constant_of, op_name

Lookup = Callable[[relax.Expr], Any]


def is_scalar(expr: relax.Expr, value: float) -> bool:
    """Tell whether an expression is a constant that holds this value everywhere."""
    array = constant_of(expr)
    return array is not None and array.size > 0 and bool(np.all(array == value))


def sign_operand(expr: Any, lookup: Lookup) -> Any:
    """Return x if the expression is ``where(less(x, 0), -1, 1)``, else None.

    Parameters
    ----------
    expr : relax.Expr or None
        A call, not a variable.
    lookup : callable
        Gives the call that a variable holds.
    """
    if op_name(expr) != "where":
        return None
    condition, low, high = expr.args
    test = lookup(condition)
    if op_name(test) != "less" or not (is_scalar(low, -1) and is_scalar(high, 1)):
        return None
    return test.args[0] if is_scalar(test.args[1], 0) else None


def emit_sign(emitter: Emitter, x: relax.Expr, name: str) -> relax.Call:
    """Build the sign of x; only its comparison is bound."""
    is_negative = emitter.emit(relax.op.less(x, relax.const(0.0)), f"{name}_negative")
    return relax.op.where(is_negative, relax.const(-1.0), relax.const(1.0))
