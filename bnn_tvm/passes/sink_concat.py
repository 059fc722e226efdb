"""Pass: compute each piece of a concatenation by itself, as long as channels do not mix.

In a dense block every layer reads all pieces so far, each through its own BatchNorm and sign. On
pieces these become part of the kernels that make them, and what is left to concatenate are words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, arguments, constant_of, is_tensor, op_name, rewrite_calls, shape_of
from .evaluate import is_elementwise

_POOLS = tuple(f"nn.{kind}_pool{axes}d" for kind in ("max", "avg") for axes in (1, 2, 3))
_FEWEST_AXES = 3


def sink_concat(mod: IRModule) -> IRModule:
    """Rewrite f(concat(x, y)) to concat(f(x), f(y)) for every f that keeps channels apart.

    These are elementwise operations with constants or equally divided operands, poolings, and
    slices of channels; a concatenation of concatenations becomes one. Expects channels last.
    """
    return rewrite_calls(mod, _sink)


def _sink(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    if op_name(call) == "concat":
        return _flatten(emitter, call)
    if op_name(call) == "strided_slice":
        return _slice(emitter, call, name)
    if op_name(call) in _POOLS:
        pieces = _pieces(emitter, call.args[0])
        return pieces and _join(
            [emitter.emit(relax.Call(call.op, [piece], call.attrs), name) for piece in pieces]
        )
    return _compute_pieces(emitter, call, name) if is_elementwise(call) else None


def _pieces(emitter: Emitter, expr: relax.Expr) -> list[relax.Expr] | None:
    """List what a concatenation of channels puts together; None for anything else."""
    call = emitter.value(expr)
    if op_name(call) != "concat" or len(shape_of(expr)) < _FEWEST_AXES:
        return None
    last = len(shape_of(expr)) - 1
    return arguments(call) if int(call.attrs.axis) in (-1, last) else None


def _join(pieces: list[relax.Expr]) -> relax.Expr:
    return pieces[0] if len(pieces) == 1 else relax.op.concat(pieces, -1)


def _flatten(emitter: Emitter, call: relax.Call) -> relax.Expr | None:
    fields = arguments(call)
    if int(call.attrs.axis) % len(shape_of(fields[0])) != len(shape_of(fields[0])) - 1:
        return None
    parts = [_pieces(emitter, field) or [field] for field in fields]
    return _join([piece for part in parts for piece in part])


def _slice(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    """Slice the pieces that a slice of neighbouring channels covers."""
    pieces = _pieces(emitter, call.args[0])
    bounds = [[int(number.value) for number in arg.fields] for arg in call.args[1:]]
    axes, begin, end = (bound[0] for bound in bounds[:3])
    rank = len(shape_of(call.args[0]))
    is_plain = len(bounds[0]) == 1 and axes % rank == rank - 1 and bounds[3:] in ([], [[1]])
    if pieces is None or not is_plain:
        return None
    channels = shape_of(call.args[0])[-1]
    start, stop = (at + channels if at < 0 else min(at, channels) for at in (begin, end))
    parts, first = [], 0
    for piece in pieces:
        size = shape_of(piece)[-1]
        low, high = max(start - first, 0), min(stop - first, size)
        if low < high:
            whole = high - low == size
            part = relax.op.strided_slice(piece, [rank - 1], [low], [high])
            parts.append(piece if whole else emitter.emit(part, name))
        first += size
    return _join(parts)


def _compute_pieces(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    divided = [_pieces(emitter, arg) for arg in call.args]
    splits = {tuple(shape_of(piece)[-1] for piece in pieces) for pieces in divided if pieces}
    if len(splits) != 1:
        return None
    (split,) = splits
    dividers = [
        _divider(arg, pieces, split) for arg, pieces in zip(call.args, divided, strict=True)
    ]
    if any(divider is None for divider in dividers):
        return None
    results = []
    for place in range(len(split)):
        args = [divider(place) for divider in dividers if divider is not None]
        results.append(emitter.emit(relax.Call(call.op, args, call.attrs, call.ty_args), name))
    return _join(results)


def _divider(
    arg: relax.Expr, pieces: list[relax.Expr] | None, split: tuple[int, ...]
) -> Callable[[int], relax.Expr] | None:
    """Give the part of an operand that belongs to each piece; None if it cannot be divided."""
    if pieces:
        return lambda place: pieces[place]
    if not is_tensor(arg):
        return lambda _: arg
    array = constant_of(arg)
    if array is None:
        return None
    if array.ndim == 0 or array.shape[-1] == 1:
        return lambda _: arg
    parts = np.split(array, np.cumsum(split)[:-1], axis=-1)
    return lambda place: relax.const(np.ascontiguousarray(parts[place]), str(array.dtype))
