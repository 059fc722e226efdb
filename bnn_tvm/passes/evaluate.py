"""What each foldable operator computes, in numpy: for constants and for every possible popcount.

All arithmetic stays in the dtype of the operands (float32 in practice), one rounding an
operation, as the float graph prescribes it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from .dataflow import dtype_of, number_of, op_name

_ELEMENTWISE: dict[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "power": np.power,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_not": np.logical_not,
    "where": np.where,
    "abs": np.abs,
    "negative": np.negative,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "round": np.rint,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "nn.relu": lambda x: np.maximum(x, 0),
}

_REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.mean,
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
}


def _reduce(call: relax.Call, x: np.ndarray) -> np.ndarray:
    axis = None if call.attrs.axis is None else tuple(int(a) for a in call.attrs.axis)
    return _REDUCTIONS[op_name(call)](x, axis=axis, keepdims=bool(call.attrs.keepdims))


def _permute(call: relax.Call, x: np.ndarray) -> np.ndarray:
    axes = call.attrs.axes
    return np.transpose(x, None if axes is None else [int(a) for a in axes])


def _clip(call: relax.Call, x: np.ndarray) -> np.ndarray:
    low, high = map(number_of, call.args[1:])
    return np.clip(x, low, high)


def _reshape(call: relax.Call, x: np.ndarray) -> np.ndarray:
    return x.reshape([int(extent) for extent in call.args[1]])


_STRUCTURAL: dict[str, Callable[[relax.Call, np.ndarray], np.ndarray]] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "permute_dims": _permute,
    "clip": _clip,
    "reshape": _reshape,
    "astype": lambda call, x: x.astype(dtype_of(call)),
}


def can_evaluate(call: relax.Call) -> bool:
    """Tell whether :func:`evaluate` knows the operator of this call."""
    return op_name(call) in _ELEMENTWISE or op_name(call) in _STRUCTURAL


def is_elementwise(call: relax.Expr) -> bool:
    """Tell whether an operator computes each value from the operands' values at its place."""
    return op_name(call) in _ELEMENTWISE or op_name(call) in ("clip", "astype")


def evaluate(call: relax.Call, *operands: np.ndarray) -> np.ndarray:
    """Compute what a call gives for these tensor operands.

    Parameters
    ----------
    call : relax.Call
        Gives the operator and its attributes.
    *operands : numpy.ndarray
        The tensor arguments, in order.

    Returns
    -------
    numpy.ndarray
        In the dtype that the operator has in Relax (comparisons give bool).
    """
    name = op_name(call)
    with np.errstate(all="ignore"):
        if name in _ELEMENTWISE:
            return np.asarray(_ELEMENTWISE[name](*operands))
        return np.asarray(_STRUCTURAL[name](call, operands[0]))
