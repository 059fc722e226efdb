"""Pass: apply a BatchNorm after max-pooling instead of before, to fewer values.

``max((x - m) g + b)`` is ``(max(x) - m) g + b`` where ``g > 0``, since every rounding keeps
the order. Where ``g < 0`` the layer before computes ``-x`` instead: its filters change their signs,
as ``m`` and ``g`` do, and no result changes a bit.
"""

from __future__ import annotations

import math

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .binary import CONVOLUTIONS, reason_not_binary
from .dataflow import Emitter, constant_of, is_per_channel, op_name, rewrite_calls, shape_of
from .negate_outputs import negate_outputs
from .windows import MAX_POOLS

_SUMS, _PRODUCT = ("add", "subtract"), "multiply"


def sink_affine(mod: IRModule) -> IRModule:
    """Move what is added and multiplied channel by channel from before poolings to behind them.

    Expects channels-last data. Only behind float convolutions: layers on bits give values that
    become signs before they are pooled.
    """
    return rewrite_calls(mod, _sink)


def _sink(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    steps = _steps_before(emitter, call.args[0]) if op_name(call) in MAX_POOLS else []
    if not steps:
        return None
    source = steps[0].args[0]
    conv = emitter.value(source)
    if op_name(conv) not in CONVOLUTIONS or emitter.uses(source) != 1:
        return None
    if not reason_not_binary(conv, emitter.value):
        return None
    factors = [_constant(step) for step in steps if op_name(step) == _PRODUCT]
    signs = math.prod(map(np.sign, factors), start=np.ones(shape_of(source)[-1], np.float32))
    value = emitter.emit(negate_outputs(conv, signs < 0), source.name)
    value = emitter.emit(relax.Call(call.op, [value], call.attrs), name)
    for step in steps:
        constant = _constant(step)
        if op_name(step) == _PRODUCT:
            signs, constant = signs * np.sign(constant), abs(constant)
        else:
            constant = constant * signs
        operands = [value, relax.const(constant)]
        value = emitter.emit(relax.Call(step.op, operands), name)
    return value


def _steps_before(emitter: Emitter, value: relax.Expr) -> list[relax.Call]:
    """List the additions and products by channel that lead to a value, the first one first."""
    steps: list[relax.Call] = []
    while _is_step(step := emitter.value(value)) and emitter.uses(value) == 1:
        steps.insert(0, step)
        value = step.args[0]
    return steps


def _is_step(call: relax.Call | None) -> bool:
    if call is None or op_name(call) not in (_PRODUCT, *_SUMS):
        return False
    constant = constant_of(call.args[1])
    if constant is None or constant.size not in (1, shape_of(call.args[0])[-1]):
        return False
    return is_per_channel(constant) and (op_name(call) != _PRODUCT or bool(np.all(constant)))


def _constant(step: relax.Call) -> np.ndarray:
    """Give what a step adds or multiplies: one number, or (channels,)."""
    return np.asarray(constant_of(step.args[1])).reshape(-1)
