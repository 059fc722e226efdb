"""Pass: give the stock-operator spellings of the binary functions their one canonical form.

``bnn_tvm.gluon`` composes ``det_sign`` and ``gradcancel`` from operators that stock MXNet has;
what only serves the gradient is the identity here.
"""

from __future__ import annotations

from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, op_name, rewrite_calls, shape_of
from .sign import emit_sign, is_scalar


def _same_branches(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    """Rewrite where(c, x, x) to x: gradcancel, once its gradient stop is gone."""
    if op_name(call) == "where" and call.args[1].same_as(call.args[2]):
        return call.args[1]
    return None


def _zero_difference(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    """Rewrite a + (b - b) to a: a straight-through gradient that adds no value."""
    if op_name(call) != "add":
        return None
    for kept, added in (call.args, reversed(call.args)):
        difference = emitter.value(added)
        if op_name(difference) != "subtract" or shape_of(kept) != shape_of(added):
            continue
        if difference.args[0].same_as(difference.args[1]):
            return kept
    return None


def _sign_plus_is_zero(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    """Rewrite sign(x) + (x == 0), or + (sign(x) == 0), to the canonical sign."""
    if op_name(call) != "add":
        return None
    for signed, added in (call.args, reversed(call.args)):
        sign, cast = emitter.value(signed), emitter.value(added)
        if op_name(sign) != "sign" or op_name(cast) != "astype":
            continue
        equal = emitter.value(cast.args[0])
        if op_name(equal) != "equal":
            continue
        tests_same_value = any(equal.args[0].same_as(x) for x in (signed, sign.args[0]))
        if tests_same_value and is_scalar(equal.args[1], 0):
            return emit_sign(emitter, sign.args[0], name)
    return None


def canonicalize_sign(mod: IRModule) -> IRModule:
    """Rewrite every spelling of det_sign to ``where(less(x, 0), -1, 1)`` and drop gradcancel."""
    for rule in (_same_branches, _zero_difference, _sign_plus_is_zero):
        mod = rewrite_calls(mod, rule)
    return mod
