"""Pass: binarize before data is moved or pooled, so that bits are moved and pooled."""

from __future__ import annotations

import functools

from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, op_name, rewrite_calls
from .sign import emit_sign, sign_operand
from .windows import MAX_POOLS

# sign(f(x)) = f(sign(x)) for all of these: they copy values, or take the largest of some.
_COMMUTING = ("reshape", "permute_dims", "nn.pad", *MAX_POOLS)


def _sign_of_padding(call: relax.Call) -> relax.Call:
    value = -1.0 if float(call.attrs.pad_value) < 0 else 1.0
    return relax.op.nn.pad(call.args[0], list(call.attrs.pad_width), pad_value=value)


def hoist_sign(mod: IRModule) -> IRModule:
    """Rewrite sign(f(x)) to f(sign(x)) where f only moves values, pads, or takes a maximum.

    A value that is also read as a float stays where it is. Repeats until nothing moves.
    """
    moved = True
    while moved:
        names: list[str] = []
        mod = rewrite_calls(mod, functools.partial(_hoist, names))
        moved = bool(names)
    return mod


def _hoist(moved: list[str], emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    operand = sign_operand(call, emitter.value)
    mover = emitter.value(operand)
    if op_name(mover) not in _COMMUTING or emitter.uses(operand) != 1:
        return None
    moved.append(name)
    sign = emitter.emit(emit_sign(emitter, mover.args[0], name), name)
    call = relax.Call(mover.op, [sign, *mover.args[1:]], mover.attrs)
    return _sign_of_padding(call) if op_name(mover) == "nn.pad" else call
