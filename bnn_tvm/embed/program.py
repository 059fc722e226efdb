"""Read a scheduled ``main`` as a list of kernel calls on named blocks of memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule
from tvm.ir.expr import GenericConst as Constant

from ..errors import ModelError
from ..package.manifest import TensorInfo
from ..passes.dataflow import (
    MAIN,
    called_kernel,
    dtype_of,
    is_tensor,
    main_bindings,
    main_result,
    op_name,
    shape_of,
)

_NOT_A_LETTER = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Step:
    """One call of a kernel.

    Attributes
    ----------
    kernel : str
        Its name in the module.
    reads, writes : tuple of str
        Names of blocks or of constants, in the order of its parameters. What it writes may hold
        what another step wrote, and it reads, before.
    """

    kernel: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A network as straight-line code.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Names of the blocks that hold them; an output may be an input or a constant.
    blocks : mapping of str to int
        Bytes of each block of memory that is written.
    constants : mapping of str to np.ndarray
        The weights.
    steps : tuple of Step
        In order of execution.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    blocks: Mapping[str, int]
    constants: Mapping[str, np.ndarray]
    steps: tuple[Step, ...]


def identifier(name: str) -> str:
    """Spell a name so that it is part of a C identifier: lower case, digits, underscores."""
    return _NOT_A_LETTER.sub("_", name.lower()).strip("_") or "model"


def read_program(mod: IRModule) -> Program:
    """Read ``main`` of a scheduled module.

    Raises
    ------
    ModelError
        If it does anything but call kernels on tensors of known shapes.
    """
    return _Reader(mod).read()


class _Reader:
    """Follows the bindings of ``main`` and names what each variable stands for."""

    def __init__(self, mod: IRModule):
        self._mod = mod
        self._names: dict[relax.Var, tuple[str, ...]] = {}
        self._blocks: dict[str, int] = {}
        self._constants: dict[str, np.ndarray] = {}
        self._steps: list[Step] = []

    def read(self) -> Program:
        inputs = tuple(self._new_block(p.name, p.ty) for p in self._mod[MAIN].params)
        self._names.update(
            (param, (name,)) for param, name in zip(self._mod[MAIN].params, inputs, strict=True)
        )
        for binding in main_bindings(self._mod):
            self._names[binding.var] = self._read(binding.var.name, binding.value)
        outputs = tuple(self._name(head) for head in main_result(self._mod))
        return Program(inputs, outputs, self._blocks, self._constants, tuple(self._steps))

    def _read(self, name: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, relax.Var | Constant | relax.TupleGetItem):
            return (self._name(value),) if is_tensor(value) else self._names[value]
        if isinstance(value, relax.Tuple):
            return tuple(self._name(field) for field in value.fields)
        if called_kernel(value):
            return self._read_call(name, value)
        # The same bytes in the same order: nothing to do.
        if op_name(value) == "reshape":
            return (self._name(value.args[0]),)
        raise ModelError(
            f"{name} uses {op_name(value) or type(value).__name__}, which a C package cannot "
            "hold; compile with --format library"
        )

    def _read_call(self, name: str, call: relax.Call) -> tuple[str, ...]:
        fields = [call.ty] if is_tensor(call) else list(call.ty.fields)
        operands = tuple(self._name(arg) for arg in call.args[1].fields)
        in_place = _count_in_place(call)
        reads, written = operands[: len(operands) - in_place], operands[len(operands) - in_place :]
        writes = (*written, *(self._new_block(name, field) for field in fields[in_place:]))
        self._steps.append(Step(called_kernel(call), reads, writes))
        return writes

    def _name(self, expr: Any) -> str:
        if isinstance(expr, Constant):
            return self._constant(expr.value.numpy())
        if isinstance(expr, relax.TupleGetItem):
            return self._names[expr.tuple_value][expr.index]
        return self._names[expr][0]

    def _constant(self, value: np.ndarray) -> str:
        """Name a constant by its bytes: equal ones are stored once."""
        name = f"constant_{hashlib.sha256(value.tobytes()).hexdigest()[:12]}"
        self._constants[name] = value
        return name

    def _new_block(self, name: str, ty: Any) -> str:
        unique = f"{identifier(name)}_{len(self._blocks)}"
        tensor = relax.Var(name, ty)
        self._blocks[unique] = TensorInfo(name, shape_of(tensor), dtype_of(tensor), "").nbytes
        return unique


def _count_in_place(call: relax.Call) -> int:
    """Count the results of a call that are written over its last operands."""
    if op_name(call) == "call_tir":
        return 0
    return sum(int(position) >= 0 for position in call.attrs.inplace_indices)
