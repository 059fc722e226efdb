"""Which MXNet operator is converted by which function, and what such a function may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from tvm import relax

from ...errors import ModelError
from ..attributes import Attributes
from ..graph import Node

Value: TypeAlias = relax.Expr | np.ndarray
"""What a node's input holds: a Relax expression, or the array of a parameter."""


class Emitter:
    """Binds expressions one after the other, and keeps the names of nodes free for the nodes."""

    def __init__(self, node_names: frozenset[str]) -> None:
        self._node_names = node_names
        self._types = relax.BlockBuilder()
        self.bindings: list[relax.VarBinding] = []
        self.masks: dict[relax.Var, relax.Var] = {}
        """Float 0/1 result of a comparison to its boolean form."""

    def emit(self, expr: relax.Expr, node_name: str, suffix: str) -> relax.Var:
        """Bind ``expr`` to a variable named after the node."""
        name = f"{node_name}_{suffix}" if suffix else node_name
        while suffix and name in self._node_names:
            name += "_"
        typed = self._types.normalize(expr)
        var = relax.DataflowVar(name, typed.ty)
        self.bindings.append(relax.VarBinding(var, typed))
        return var


@dataclass(frozen=True)
class Context:
    """One node under conversion: its attributes, its inputs, and where to put the result."""

    node: Node
    values: tuple[Value, ...]
    emitter: Emitter

    @property
    def attrs(self) -> Attributes:
        """Typed attributes of the node."""
        return Attributes(self.node)

    def expr(self, slot: int = 0) -> relax.Expr:
        """Input ``slot`` as an expression; a parameter becomes a float32 constant."""
        value = self._value(slot)
        return constant(value) if isinstance(value, np.ndarray) else value

    def array(self, slot: int) -> np.ndarray:
        """Array of the parameter in ``slot``, as it is in the file."""
        value = self._value(slot)
        if not isinstance(value, np.ndarray):
            raise self.error(f"input {slot} must be a parameter, not a computed value")
        return value

    def vector(self, slot: int, size: int) -> np.ndarray:
        """Parameter in ``slot`` as float64, which must have the shape (size,)."""
        array = self.array(slot)
        if array.shape != (size,):
            raise self.error(f"input {slot} has the shape {array.shape}, not {(size,)}")
        return array.astype(np.float64)

    def emit(self, expr: relax.Expr, suffix: str = "") -> relax.Var:
        """Bind ``expr`` under the node's name, with ``_suffix`` for a helper of the node."""
        return self.emitter.emit(expr, self.node.name, suffix)

    def error(self, reason: str) -> ModelError:
        """Make the error for something in this node that cannot be."""
        return ModelError(
            f"node {self.node.name!r} ({self.node.op}): {reason}; "
            "check that the .params file and the input shape belong to this network"
        )

    def _value(self, slot: int) -> Value:
        if slot >= len(self.values):
            raise self.error(f"has {len(self.values)} inputs, input {slot} is missing")
        return self.values[slot]


Convert = Callable[[Context], relax.Expr]
Refuse = Callable[[Attributes], str | None]


@dataclass(frozen=True)
class Converter:
    """How one operator is converted, and what of it is not supported.

    Attributes
    ----------
    convert : emits the node, returns its output
    refuse : gives the reason why a node with such attributes is not supported, or None
    """

    convert: Convert
    refuse: Refuse


def accept_all(_: Attributes) -> str | None:
    """Refuse nothing."""
    return None


REGISTRY: dict[str, Converter] = {}


def register(*operators: str, refuse: Refuse = accept_all) -> Callable[[Convert], Convert]:
    """Enter a function as the converter of the named operators."""

    def enter(convert: Convert) -> Convert:
        REGISTRY.update(dict.fromkeys(operators, Converter(convert, refuse)))
        return convert

    return enter


def register_each(table: Mapping[str, Convert]) -> None:
    """Enter converters that refuse nothing, by operator."""
    for operator, convert in table.items():
        register(operator)(convert)


def constant(array: np.ndarray) -> relax.Constant:
    """Make a float32 constant."""
    return relax.const(np.ascontiguousarray(array, dtype=np.float32), "float32")


def scalar(value: float) -> relax.Constant:
    """Make a float32 constant of no dimensions."""
    return relax.const(np.float32(value), "float32")


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """Shape of a tensor expression; every shape is known at import."""
    return tuple(int(size) for size in expr.ty.shape)
