"""Pass: average whole images as a pooling, which is scheduled and fused like any other."""

from __future__ import annotations

from collections.abc import Callable

from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, op_name, rewrite_calls, shape_of

_POOLS: dict[int, Callable[..., relax.Call]] = {
    3: relax.op.nn.avg_pool1d,
    4: relax.op.nn.avg_pool2d,
    5: relax.op.nn.avg_pool3d,
}


def _pool(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    if op_name(call) != "mean" or call.attrs.axis is None:
        return None
    shape = shape_of(call.args[0])
    rank = len(shape)
    axes = sorted(int(axis) % rank for axis in call.attrs.axis)
    if rank not in _POOLS or axes != list(range(2, rank)):
        return None
    pooled = _POOLS[rank](call.args[0], pool_size=shape[2:], strides=[1] * (rank - 2))
    if call.attrs.keepdims:
        return pooled
    return relax.op.reshape(emitter.emit(pooled, name), shape[:2])


def pool_mean(mod: IRModule) -> IRModule:
    """Rewrite the mean over all positions of NCW, NCHW or NCDHW data to an average pooling."""
    return rewrite_calls(mod, _pool)
