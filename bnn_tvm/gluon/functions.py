"""BMXNet's four binary operators composed from operators of stock MXNet.

Each function takes an ``NDArray`` or a ``Symbol`` and returns the same kind, so it works in
imperative code, in ``hybrid_forward`` and in symbol files that stock MXNet reads.
"""

from __future__ import annotations

from types import ModuleType
from typing import TypeAlias

import mxnet as mx

Tensor: TypeAlias = mx.nd.NDArray | mx.sym.Symbol


def operators_of(x: Tensor) -> ModuleType:
    """Return the operator name space of a tensor: ``mx.sym`` or ``mx.nd``."""
    return mx.sym if isinstance(x, mx.sym.Symbol) else mx.nd


def det_sign(x: Tensor) -> Tensor:
    """Deterministic sign with a straight-through gradient.

    Parameters
    ----------
    x : NDArray or Symbol
        Any shape, any dtype.

    Returns
    -------
    NDArray or Symbol
        -1 where ``x < 0`` and +1 elsewhere, so that 0, -0.0 and NaN give +1. The gradient passes
        unchanged (BMXNet v2's ``det_sign``).
    """
    sign = operators_of(x).contrib.sign_ste(x)
    # sign is 0 exactly where x is zero or NaN; the comparison has no gradient.
    return sign + (sign == 0)


def round_ste(x: Tensor) -> Tensor:
    """Round half away from zero, with a straight-through gradient.

    Parameters
    ----------
    x : NDArray or Symbol
        Any shape, floating point.

    Returns
    -------
    NDArray or Symbol
        C's ``round``: 0.5 -> 1, -1.5 -> -2, 2.5 -> 3 (numpy would round halves to even).
    """
    return operators_of(x).contrib.round_ste(x)


def approx_sign(x: Tensor) -> Tensor:
    """Sign whose gradient is that of a piecewise quadratic (Bi-Real Net, arXiv:1808.00278).

    Parameters
    ----------
    x : NDArray or Symbol
        Any shape, floating point, with ``x * x`` finite.

    Returns
    -------
    NDArray or Symbol
        The values of :func:`det_sign`. The gradient is multiplied by ``2 - 2 |x|``, which is not
        clamped and turns negative beyond 1: use it behind :func:`gradcancel`.
    """
    ops = operators_of(x)
    surrogate = 2 * x - x * ops.abs(x)
    return ops.BlockGrad(det_sign(x)) + (surrogate - ops.BlockGrad(surrogate))


def gradcancel(x: Tensor, threshold: float = 1.0) -> Tensor:
    """Identity that cancels the gradient where the input is large.

    Parameters
    ----------
    x : NDArray or Symbol
        Any shape.
    threshold : float
        The gradient passes where ``|x| <= threshold`` (inclusive) and is zero elsewhere.

    Returns
    -------
    NDArray or Symbol
        The values of ``x``.
    """
    ops = operators_of(x)
    return ops.where(ops.abs(x) <= threshold, x, ops.BlockGrad(x))
