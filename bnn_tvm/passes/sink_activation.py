"""Pass: apply an activation after max-pooling instead of before, to fewer values."""

from __future__ import annotations

from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, op_name, rewrite_calls
from .windows import MAX_POOLS

# Non-decreasing and the same for every channel, so that max(f(x)) = f(max(x)).
_MONOTONE = ("tanh", "sigmoid", "nn.relu", "clip")


def _sink(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    if op_name(call) not in MAX_POOLS:
        return None
    activation = emitter.value(call.args[0])
    if op_name(activation) not in _MONOTONE or emitter.uses(call.args[0]) != 1:
        return None
    pooled = relax.Call(call.op, [activation.args[0]], call.attrs)
    return relax.Call(
        activation.op, [emitter.emit(pooled, name), *activation.args[1:]], activation.attrs
    )


def sink_activation(mod: IRModule) -> IRModule:
    """Rewrite max_pool(f(x)) to f(max_pool(x)) where f is non-decreasing in every value."""
    return rewrite_calls(mod, _sink)
