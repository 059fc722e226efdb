"""Choose what each float layer gets of a lower precision: never one that makes it slower."""

from __future__ import annotations

import math

from tvm import relax
from tvm.ir import IRModule

from .package.precision import (
    BF16,
    BF16_WEIGHTS,
    FLOAT32,
    FP16,
    INT8,
    TF32,
    LayerPrecision,
)
from .passes.binary import CONVOLUTIONS, reason_not_binary
from .passes.dataflow import constant_of, main_bindings, op_name, shape_of
from .passes.float_conv import is_filtered
from .passes.float_layers import is_float_layer
from .passes.quantize_layers import fits_int32
from .passes.sign import Lookup
from .target import Target

DOT_INSTRUCTIONS = {BF16: "vdpbf16ps", FP16: "mma.f16", TF32: "mma.tf32", INT8: "vpdpbusd"}
"""What multiplies numbers of a precision faster than float32."""

ON_GPUS = (FP16, TF32)
"""Precisions that GPUs have, and processors have not."""

# Rows of data up to which a dense layer waits for its weights. 512 to 1000 on a Xeon with AVX-512:
# 1 row took 0.72 of the time with weights in bfloat16, 8 rows 0.84, 16 rows 1.0; with AVX2 0.69,
# 0.98 and 1.1.
_MOST_ROWS = 8
_FLOAT_BYTES = 4


def plan_layers(mod: IRModule, precision: str, target: Target) -> tuple[LayerPrecision, ...]:
    """Say for each layer that does not run on bits what it gets, and why.

    Parameters
    ----------
    mod : IRModule
        Before its regions are outlined.
    precision : str
        One of `FLOAT_PRECISIONS`, but not `FLOAT32`.
    target : Target
    """
    bindings = main_bindings(mod)
    lookup = {binding.var: binding.value for binding in bindings}.get
    return tuple(
        LayerPrecision(binding.var.name, *_choose(binding.value, precision, target, lookup))
        for binding in bindings
        if op_name(binding.value) in (*CONVOLUTIONS, "matmul")
        and reason_not_binary(binding.value, lookup)
    )


def _choose(call: relax.Call, precision: str, target: Target, lookup: Lookup) -> tuple[str, str]:
    """Choose the precision of a layer and say why."""
    if not is_float_layer(call, lookup):
        return FLOAT32, "an operator of TVM's library computes it"
    if precision in ON_GPUS:
        return precision, f"tensor cores multiply by {DOT_INSTRUCTIONS[precision]}"
    if precision == INT8:
        return _choose_int8(call)
    if op_name(call) in CONVOLUTIONS and is_filtered(call, target, lookup):
        return FLOAT32, "the rows of its image are filtered in half the products"
    if DOT_INSTRUCTIONS[BF16] in target.dot_instructions:
        return BF16, f"{DOT_INSTRUCTIONS[BF16]} sums two products at once"
    if _waits_for_weights(call, target):
        return BF16_WEIGHTS, "it waits for its weights, which take half the bytes"
    return FLOAT32, f"{target.id} multiplies bfloat16 numbers no faster than float32 ones"


def _choose_int8(call: relax.Call) -> tuple[str, str]:
    if fits_int32(constant_of(call.args[1]), op_name(call)):
        return INT8, f"{DOT_INSTRUCTIONS[INT8]} sums four products at once"
    return FLOAT32, "sums of its products may not fit into 32 bits"


def _waits_for_weights(call: relax.Call, target: Target) -> bool:
    """Tell whether weights come too slowly to be multiplied as fast as vectors can.

    Those of more than half of L2 have left it since they were last read.
    """
    if op_name(call) != "matmul" or not target.has_vector_rules:
        return False
    data, weight = map(shape_of, call.args)
    return data[0] <= _MOST_ROWS and 2 * _FLOAT_BYTES * math.prod(weight) > target.l2_kib << 10
