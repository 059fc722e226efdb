"""Runs kernels that are scheduled for a GPU on the processor: thread loops become serial ones."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import tvm
import tvm_ffi
from bnn_tvm.schedules import cuda, cuda_intrinsics, cuda_wgmma
from bnn_tvm.schedules.rule import Scheduled, apply_first
from tvm import tirx
from tvm.ir import IRModule
from tvm.s_tir import SBlock

from bnn_tvm.kernels.stages import NUM_OUTPUTS
from bnn_tvm.target import CudaTarget, get_target

_PIPELINE = "software_pipeline"


def without_instructions(name: str) -> CudaTarget:
    """Give a target whose copies are plain stores; what it computes stays the same."""
    target = get_target(name)
    assert isinstance(target, CudaTarget)
    return dataclasses.replace(target, gpu=dataclasses.replace(target.gpu, async_copy=False))


@contextlib.contextmanager
def scalar_intrinsics() -> Iterator[None]:
    """Let tensor-core intrinsics do what their descriptions say, for the time of a block."""
    with contextlib.ExitStack() as patches:
        for module, describe in (
            (cuda_intrinsics, cuda_intrinsics._describe),
            (cuda_wgmma, lambda columns, words, waits: cuda_wgmma._describe(columns, words)),
        ):
            described = {"_implement": describe, "_PREFIX": f"{module._PREFIX}.test"}
            patches.enter_context(mock.patch.multiple(module, **described))
        yield


def schedule(func: tirx.PrimFunc, target: str, choose=None) -> Scheduled:
    """Schedule a kernel as for a target, with reference loops for its instructions."""
    with scalar_intrinsics():
        if choose is None:
            return apply_first(cuda.RULES, func, without_instructions(target))
        sch = cuda.RULES[0].apply(func, without_instructions(target), choose)
        (scheduled,) = sch.mod.functions.values()
        return Scheduled(scheduled, cuda.RULES[0].name, cuda.RULES[0].source)


def serialize(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Turn loops over threads into serial loops, and all memory into plain memory."""

    def loop(stmt: tirx.For) -> tirx.For:
        is_thread = stmt.kind == tirx.ForKind.THREAD_BINDING
        kind = tirx.ForKind.SERIAL if is_thread else stmt.kind
        kept = {k: v for k, v in stmt.annotations.items() if not str(k).startswith(_PIPELINE)}
        thread = None if is_thread else stmt.thread_binding
        return tirx.For(
            stmt.loop_var, stmt.min, stmt.extent, kind, stmt.body, thread, kept, stmt.step
        )

    return func.with_body(tvm_ffi.structural_map(func.body, (tirx.For, loop)))


def run_serially(func: tirx.PrimFunc, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a function on the processor and return what it writes."""
    func = func.with_attr("global_symbol", "kernel")
    library = tvm.compile(IRModule({"kernel": func}), get_target("x86-64").to_tvm())
    outputs = [
        tvm.runtime.empty(tuple(int(extent) for extent in param.shape), str(param.dtype))
        for param in func.params[len(arrays) :]
    ]
    library["kernel"](*[tvm.runtime.tensor(array) for array in arrays], *outputs)
    return [output.numpy() for output in outputs]


def blocks(func: tirx.PrimFunc) -> list[str]:
    """Name the blocks of a function."""
    found: list[str] = []
    tvm_ffi.structural_walk(func.body, (SBlock, lambda block: found.append(str(block.name_hint))))
    return found


def operands(func: tirx.PrimFunc, seed: int = 0) -> list[np.ndarray]:
    """Draw what a kernel reads."""
    generator = np.random.default_rng(seed)
    draws = {
        "uint32": lambda shape: generator.integers(0, 2**32, shape, dtype=np.uint32),
        "int32": lambda shape: generator.integers(0, 3, shape).astype(np.int32),
        "float32": lambda shape: generator.standard_normal(shape).astype(np.float32),
        "float16": lambda shape: generator.standard_normal(shape).astype(np.float16),
    }
    inputs = func.params[: -int(func.attrs[NUM_OUTPUTS])]
    return [draws[str(p.dtype)](tuple(int(extent) for extent in p.shape)) for p in inputs]


def check(func: tirx.PrimFunc, scheduled: tirx.PrimFunc, rtol: float = 0.0) -> None:
    """Compare a scheduled kernel, run serially, with the one that is not.

    Words and integers must be equal; floats may be summed in another order.
    """
    arrays = operands(func)
    expected = run_serially(func, arrays)
    for a, b in zip(expected, run_serially(serialize(scheduled), arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol if a.dtype.kind == "f" else 0, atol=rtol)


def take(**wanted):
    """Decide some choices, and leave the others to the rule's author."""
    texts = {name: str(option) for name, option in wanted.items()}

    def choose(name, options):
        return next(o for o in options if str(o) == texts.get(name, str(options[0])))

    return choose
