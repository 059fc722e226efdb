"""Pass, by choice only: layers in float multiply numbers of 16 bits and sum in float32.

Data and weights are rounded to the nearest bfloat16 or float16, halves to the even one; of some
layers only the weights are, which are then read as the float32 numbers of equal value.
"""

from __future__ import annotations

from collections.abc import Collection

import ml_dtypes
import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .binary import padding_before
from .dataflow import Emitter, constant_of, rewrite_calls
from .float_layers import change_operands, is_float_layer

_BFLOAT16 = "bfloat16"
_ARRAY_DTYPES = {_BFLOAT16: ml_dtypes.bfloat16, "float16": np.float16}


def round_layers(
    mod: IRModule,
    both: Collection[str],
    weights: Collection[str] = (),
    dtype: str = _BFLOAT16,
) -> IRModule:
    """Round the operands of float layers; expects channels-last data.

    Parameters
    ----------
    mod : IRModule
    both : collection of str
        Names of layers whose data and weights are rounded.
    weights : collection of str
        Names of those whose weights alone are.
    dtype : str
        ``bfloat16`` or ``float16``.
    """
    rounded: dict[relax.Expr, relax.Var] = {}

    def round_data(emitter: Emitter, data: relax.Expr, name: str) -> relax.Var:
        if data not in rounded:
            rounded[data] = emitter.emit(relax.op.astype(data, dtype), f"{name}_round")
        return rounded[data]

    def round_both(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr:
        pad = padding_before(call, emitter.value)
        data = round_data(emitter, call.args[0] if pad is None else pad.args[0], name)
        if pad is not None:
            widths, value = pad.attrs.pad_width, pad.attrs.pad_value
            data = emitter.emit(relax.op.nn.pad(data, widths, pad_value=value), f"{name}_pad")
        return change_operands(
            call, data, _round_weight(call, dtype), "float32", padded=pad is not None
        )

    def rule(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
        if not is_float_layer(call, emitter.value):
            return None
        if name in both:
            return round_both(emitter, call, name)
        if name in weights:
            return change_operands(
                call, call.args[0], _round_weight(call, dtype), "float32", padded=False
            )
        return None

    return rewrite_calls(mod, rule)


def _round_weight(call: relax.Call, dtype: str) -> relax.Constant:
    return relax.const(constant_of(call.args[1]).astype(_ARRAY_DTYPES[dtype]), dtype)
