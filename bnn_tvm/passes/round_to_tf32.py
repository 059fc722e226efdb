"""Pass, by choice only: layers in float multiply tf32 numbers and sum in float32.

A tf32 is a float32 in memory. Weights are rounded here, halves away from 0; data is where it is
multiplied, so that the pass only marks the module.
"""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, constant_of, rewrite_calls
from .float_layers import change_operands, is_float_layer
from .regions import MULTIPLIES_TF32

# Of a float32's bits, those that a tf32 keeps, and half of the last of them.
_BITS, _HALF = np.uint32(0xFFFFE000), np.uint32(0x1000)


def round_to_tf32(mod: IRModule) -> IRModule:
    """Round the weights of every float layer, and mark that their data is to be rounded."""

    def rule(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
        if not is_float_layer(call, emitter.value):
            return None
        weight = relax.const(round_numbers(constant_of(call.args[1])))
        return change_operands(call, call.args[0], weight, "float32", padded=False)

    return rewrite_calls(mod, rule).with_attr(MULTIPLIES_TF32, True)


def round_numbers(numbers: np.ndarray) -> np.ndarray:
    """Round float32 numbers to 11 significant bits: to the nearest, halves away from 0."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + _HALF) & _BITS).view(np.float32)
