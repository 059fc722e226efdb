"""Pass, by choice only: behind a layer of bytes, constants become one factor and one summand.

Such a layer gives integers n that are multiplied by a scale s, and a BatchNorm then subtracts,
multiplies and adds: ``(n s - m) g + b`` is ``n (s g) + (b - m g)``. That rounds at other places,
by far less than bytes do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .dataflow import (
    Emitter,
    arguments,
    constant_of,
    count_uses,
    dtype_of,
    main_bindings,
    op_name,
    rewrite_calls,
    shape_of,
)

# A factor and a summand are two operations already.
_SHORTEST = 3


@dataclass(frozen=True)
class _Line:
    """Operations in a row on numbers n, as ``n scale + shift``.

    Attributes
    ----------
    scale, shift : numpy.ndarray
        float64, of shapes that broadcast.
    length : int
        Operations.
    """

    scale: np.ndarray
    shift: np.ndarray
    length: int

    def then(self, name: str, constant: np.ndarray) -> _Line:
        """Add an operation."""
        scale, shift = self.scale, self.shift
        if name == "multiply":
            scale, shift = scale * constant, shift * constant
        else:
            shift = shift + constant if name == "add" else shift - constant
        return _Line(scale, shift, self.length + 1)


def fold_scales(mod: IRModule) -> IRModule:
    """Join what is multiplied and added behind layers of bytes; expects them quantized."""
    lines = _find_lines(mod)

    def rule(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
        if name not in lines:
            return None
        first, line = call, lines[name]
        for _ in range(line.length - 1):
            first = emitter.value(first.args[0])
        scale, shift = (relax.const(array.astype(np.float32)) for array in (line.scale, line.shift))
        return relax.op.add(emitter.emit(relax.op.multiply(first.args[0], scale), name), shift)

    return rewrite_calls(mod, rule)


def _find_lines(mod: IRModule) -> Mapping[str, _Line]:
    """Find the operations behind each layer of bytes, by the name of the last one."""
    bindings, uses = main_bindings(mod), count_uses(mod)
    values = {binding.var: binding.value for binding in bindings}
    calls = [binding for binding in bindings if isinstance(binding.value, relax.Call)]
    readers = {arg: binding for binding in calls for arg in arguments(binding.value)}
    lines = {}
    for last in calls:
        if not _scales_integers(last.value, values):
            continue
        line = _Line(np.ones(()), np.zeros(()), 0)
        while last is not None and (operation := _line_operation(last)) is not None:
            line, name = line.then(*operation), last.var.name
            last = readers.get(last.var) if uses[last.var] == 1 else None
        if line.length >= _SHORTEST:
            lines[name] = line
    return lines


def _scales_integers(call: relax.Call, values: Mapping[relax.Expr, relax.Expr]) -> bool:
    """Tell whether a call is the product of what a layer of bytes summed with its scales."""
    number = values.get(call.args[0]) if op_name(call) == "multiply" else None
    if number is None or op_name(number) != "astype":
        return False
    return dtype_of(number.args[0]) == "int32"


def _line_operation(binding: relax.VarBinding) -> tuple[str, np.ndarray] | None:
    """Return the operation and the constant if a binding adds, subtracts or multiplies by one."""
    name = op_name(binding.value)
    if name not in ("add", "subtract", "multiply"):
        return None
    number, other = binding.value.args
    constant = constant_of(other)
    fits = constant is not None and shape_of(number) == shape_of(binding.var)
    return (name, constant.astype(np.float64)) if fits else None
