"""Pass: compute at compile time what depends on constants only (signs of weights, scales)."""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, constant_of, dtype_of, is_tensor, rewrite_calls
from .evaluate import can_evaluate, evaluate


def _fold(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    tensors = [arg for arg in call.args if is_tensor(arg)]
    operands = [constant_of(arg) for arg in tensors]
    known = [operand for operand in operands if operand is not None]
    if not can_evaluate(call) or len(known) != len(operands):
        return None
    dtype = dtype_of(emitter.builder.normalize(call))
    return relax.const(np.ascontiguousarray(evaluate(call, *known).astype(dtype)), dtype)


def fold_constants(mod: IRModule) -> IRModule:
    """Replace every call whose tensor operands are constants by its value."""
    return rewrite_calls(mod, _fold)
