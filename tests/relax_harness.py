"""Writes small Relax modules and runs them: as they are, lowered, or one kernel alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from bnn_tvm.schedules.rule import Rule, apply_first
from tvm import relax, tirx
from tvm.ir import IRModule

from bnn_tvm.build import schedule_module
from bnn_tvm.kernels.stages import KERNEL
from bnn_tvm.passes.dataflow import Emitter, build_function, main_bindings, op_name
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.pipeline import FLOAT_PASSES
from bnn_tvm.passes.write_in_place import write_in_place
from bnn_tvm.target import get_target

TARGETS = ("x86-64-vpopcntdq", "x86-64-avx2", "x86-64")
# Every way to count bits: with that of words one at a time, where the first counts pairs of them.
COUNTING_TARGETS = (*TARGETS, "x86-64-zen4")


class Graph:
    """Emits the operators that the tests are made of, with names that can be asked for."""

    def __init__(self, emitter: Emitter):
        self._emitter = emitter
        self._count = 0

    def __call__(self, value: relax.Expr, name: str = "") -> relax.Var:
        self._count += 1
        return self._emitter.emit(value, name or f"node{self._count}")

    def sign(self, x: relax.Expr, name: str = "") -> relax.Var:
        negative = self(relax.op.less(x, relax.const(0.0)))
        return self(relax.op.where(negative, relax.const(-1.0), relax.const(1.0)), name)

    def quantize(self, x: relax.Expr, bits: int, signed: bool = False) -> relax.Var:
        """Round to the levels of [0, 1], halves away from 0, or of [-1, 1] if signed."""
        top = relax.const(float(2**bits - 1))
        y = self(relax.op.multiply(self(relax.op.clip(x, 0, 1)), top))
        whole = self(relax.op.trunc(y))
        rest = self(relax.op.abs(self(relax.op.subtract(y, whole))))
        away = self(relax.op.greater_equal(rest, relax.const(0.5)))
        step = self(relax.op.where(away, self(relax.op.sign(y)), relax.const(0.0)))
        unit = self(relax.op.divide(self(relax.op.add(whole, step)), top))
        if not signed:
            return unit
        doubled = self(relax.op.multiply(unit, relax.const(2.0)))
        return self(relax.op.subtract(doubled, relax.const(1.0)))

    def conv(self, x: relax.Expr, weight: np.ndarray, name: str = "", **options) -> relax.Var:
        """Convolve NCHW data with OIHW weights."""
        return self(relax.op.nn.conv2d(x, relax.const(weight), **options), name)

    def dense(self, x: relax.Expr, weight: np.ndarray, name: str = "") -> relax.Var:
        return self(relax.op.matmul(x, relax.const(weight)), name)

    def pad(self, x: relax.Expr, width: int, value: float) -> relax.Var:
        widths = [0, 0, 0, 0, width, width, width, width]
        return self(relax.op.nn.pad(x, widths, pad_value=value))

    def affine(self, x: relax.Expr, scale: np.ndarray, shift: np.ndarray) -> relax.Var:
        """Scale and shift each channel of NCHW data or each column of a matrix."""
        along = (1, -1, 1, 1) if len(x.ty.shape) == 4 else (1, -1)
        scaled = self(relax.op.multiply(x, relax.const(scale.reshape(along))))
        return self(relax.op.add(scaled, relax.const(shift.reshape(along))))


Body = Callable[..., relax.Expr | Sequence[relax.Expr]]


def module(body: Body, *shapes: tuple[int, ...]) -> IRModule:
    """Build ``main`` with one float32 parameter a shape; the body gets a Graph and the params."""
    params = [
        relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)
    ]
    builder = relax.BlockBuilder()
    graph = Graph(Emitter(builder))

    def write() -> list[relax.Expr]:
        result = body(graph, *params)
        return list(result) if isinstance(result, list | tuple) else [result]

    build_function(builder, "main", params, write)
    return builder.finalize()


def run(mod: IRModule, arrays: Sequence[np.ndarray], target: str = "") -> list[np.ndarray]:
    """Compile and run; without a target as TVM does by default."""
    compile_for = get_target(target).to_tvm() if target else tvm.target.Target({"kind": "llvm"})
    machine = relax.VirtualMachine(tvm.compile(mod, compile_for), tvm.cpu())
    outputs = machine["main"](*[tvm.runtime.tensor(array) for array in arrays])
    return [o.numpy() for o in (outputs if isinstance(outputs, tvm.ir.Array) else [outputs])]


def run_passes(mod: IRModule) -> IRModule:
    for apply in FLOAT_PASSES:
        mod = apply(mod)
    return mod


def lower(mod: IRModule, target: str = TARGETS[0]) -> IRModule:
    return lower_regions(run_passes(mod), get_target(target))


def run_lowered(
    mod: IRModule, arrays: Sequence[np.ndarray], target: str = TARGETS[0]
) -> list[np.ndarray]:
    """Run a module as it is compiled for a target, its kernels scheduled."""
    scheduled = schedule_module(lower(mod, target), get_target(target))
    return run(write_in_place(scheduled.mod), arrays, target)


def run_kernel(
    func: tirx.PrimFunc,
    arrays: Sequence[np.ndarray],
    target: str = TARGETS[2],
    rules: Sequence[Rule] = (),
) -> list[np.ndarray]:
    """Run one kernel, scheduled by the first rule that fits, and return what it writes."""
    if rules:
        func = apply_first(rules, func, get_target(target)).func
    func = func.with_attr("global_symbol", "kernel")
    library = tvm.compile(IRModule({"kernel": func}), get_target(target).to_tvm())
    outputs = [
        tvm.runtime.empty(tuple(int(extent) for extent in param.shape), str(param.dtype))
        for param in func.params[len(arrays) :]
    ]
    library["kernel"](*[tvm.runtime.tensor(array) for array in arrays], *outputs)
    return [output.numpy() for output in outputs]


def kernel_kinds(mod: IRModule) -> list[str]:
    """List the kinds of the kernels of a lowered module, each as often as it is defined."""
    return sorted(
        str(func.attrs[KERNEL])
        for func in mod.functions.values()
        if isinstance(func, tirx.PrimFunc) and KERNEL in func.attrs
    )


def kernels_of_kind(mod: IRModule, kind: str) -> list[tirx.PrimFunc]:
    """List the kernels of one kind in a lowered module."""
    kernels = [f for f in mod.functions.values() if isinstance(f, tirx.PrimFunc)]
    return [func for func in kernels if func.attrs.get(KERNEL) == kind]


def operators(mod: IRModule) -> list[str]:
    """List the operators of ``main`` in order of execution."""
    return [name for b in main_bindings(mod) if (name := op_name(b.value))]


def assert_same(before: list[np.ndarray], after: list[np.ndarray], atol: float = 0.0) -> None:
    """Compare all outputs; an atol of 0 means bit for bit."""
    assert [a.shape for a in before] == [b.shape for b in after]
    for a, b in zip(before, after, strict=True):
        if atol:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)
        else:
            np.testing.assert_array_equal(a, b)


def random_signs(seed: int, *shape: int) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(shape) < 0.5, -1, 1).astype(np.float32)


def random_floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
