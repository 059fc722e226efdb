"""Pass, by choice only: layers in float multiply bfloat16 numbers and sum in float32.

Data and weights are rounded to the nearest bfloat16, halves to the even one.
"""

from __future__ import annotations

import ml_dtypes
from tvm import relax
from tvm.ir import IRModule

from .binary import padding_before
from .dataflow import Emitter, constant_of, rewrite_calls
from .float_layers import change_operands, is_float_layer

_BF16 = "bfloat16"


def round_layers(mod: IRModule) -> IRModule:
    """Round the operands of every float layer; expects channels-last data."""
    rounded: dict[relax.Expr, relax.Var] = {}

    def round_data(emitter: Emitter, data: relax.Expr, name: str) -> relax.Var:
        if data not in rounded:
            rounded[data] = emitter.emit(relax.op.astype(data, _BF16), f"{name}_round")
        return rounded[data]

    def rule(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
        if not is_float_layer(call, emitter.value):
            return None
        pad = padding_before(call, emitter.value)
        data = round_data(emitter, call.args[0] if pad is None else pad.args[0], name)
        if pad is not None:
            widths, value = pad.attrs.pad_width, pad.attrs.pad_value
            data = emitter.emit(relax.op.nn.pad(data, widths, pad_value=value), f"{name}_pad")
        weight = relax.const(constant_of(call.args[1]).astype(ml_dtypes.bfloat16), _BF16)
        return change_operands(call, data, weight, "float32", padded=pad is not None)

    return rewrite_calls(mod, rule)
