"""Pass: compute elementwise before data is flattened, while the order of its channels is known."""

from __future__ import annotations

from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, constant_of, is_tensor, op_name, rewrite_calls, shape_of
from .evaluate import is_elementwise


def _is_number(expr: relax.Expr) -> bool:
    array = constant_of(expr)
    return array is not None and array.size == 1


def _sink(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    if not is_elementwise(call):
        return None
    varying = [arg for arg in call.args if is_tensor(arg) and not _is_number(arg)]
    flattened = [emitter.value(arg) for arg in varying]
    if not varying or not all(op_name(value) == "reshape" for value in flattened):
        return None
    shapes = {
        (shape_of(value.args[0]), shape_of(arg))
        for value, arg in zip(flattened, varying, strict=True)
    }
    if len(shapes) != 1:
        return None
    sources = iter(value.args[0] for value in flattened)
    args = [next(sources) if arg in varying else arg for arg in call.args]
    before = emitter.emit(relax.Call(call.op, args, call.attrs, call.ty_args), name)
    (_, shape) = shapes.pop()
    return relax.op.reshape(before, shape)


def sink_reshape(mod: IRModule) -> IRModule:
    """Rewrite f(reshape(x), reshape(y), number) to reshape(f(x, y, number)), f elementwise."""
    return rewrite_calls(mod, _sink)
