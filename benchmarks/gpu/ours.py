"""Kernels and networks of this compiler, as the benchmarks of GPUs run them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from bnn_tvm.schedules.choices import by_hand
from bnn_tvm.schedules.cuda_gemm import multiply
from tvm import relax, te, tirx
from tvm.ir import IRModule

from bnn_tvm.build import build_executable
from bnn_tvm.kernels.gemm import (
    Windows,
    conv_windows,
    count_disagreements,
    dense_windows,
    plan_gemm,
)
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.stages import KERNEL, NUM_OUTPUTS, RESULT, WEIGHT
from bnn_tvm.target import CudaTarget

# The choice of the rule for products that says what multiplies.
_INSTRUCTION = "instruction"


@dataclass(frozen=True)
class Conv:
    """A 3x3 convolution of a square map with as many outputs as inputs, padded by 1."""

    batch: int
    size: int
    channels: int

    @property
    def operations(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.batch * self.size**2 * self.channels**2 * 9


RESNET_CONVS = tuple(Conv(64, size, c) for size, c in ((56, 64), (28, 128), (14, 256), (7, 512)))


def gemm_kernel(size: int, target: CudaTarget) -> tirx.PrimFunc:
    """Make a product of square matrices of bits: packed in, int32 out."""
    words = te.placeholder((size, size // 32), "uint32", "argument0")
    return _count(words, dense_windows(words, (size, size // 32)), size, target)


def conv_kernel(conv: Conv, target: CudaTarget) -> tirx.PrimFunc:
    """Make a convolution of bits: packed in, int32 out."""
    shape = (conv.batch, conv.size, conv.size, conv.channels // 32)
    words = te.placeholder(shape, "uint32", "argument0")
    window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    windows = conv_windows(words, shape, window, lambda _: tirx.const(0, "uint32"))
    return _count(words, windows, conv.channels, target)


def _count(words: te.Tensor, windows: Windows, columns: int, target: CudaTarget) -> tirx.PrimFunc:
    plan = plan_gemm(windows, columns, target.gpu.multiprocessors)
    laid = (plan.parts, plan.steps, columns // 8, 4, 2, plan.vectors, plan.vector)
    weight = te.placeholder(laid, "uint32", WEIGHT)
    ones = te.placeholder((columns,), "int32", "ones_of_weight")
    count = count_disagreements(windows, weight, plan, ones)
    result = te.compute((*windows.shape, columns), lambda *index: count(*index), name=RESULT)
    func = te.create_prim_func([words, weight, ones, result])
    return func.with_attrs({KERNEL: "bitserial_dense", NUM_OUTPUTS: 1})


def list_instructions(func: tirx.PrimFunc, target: CudaTarget) -> list[str]:
    """List those that a product may be computed by; the first is what the rule takes by hand."""
    offered = ["mma"]

    def note(name: str, options: Sequence[Any]) -> Any:
        if name == _INSTRUCTION:
            offered[:] = options
        return by_hand(name, options)

    multiply(func, target, note)
    return offered


def build_kernel(func: tirx.PrimFunc, target: CudaTarget, instruction: str = "mma") -> Any:
    """Schedule a product by hand, but for the instruction where that is open, and compile it."""

    def choose(name: str, options: Sequence[Any]) -> Any:
        return instruction if name == _INSTRUCTION else by_hand(name, options)

    (scheduled,) = multiply(func, target, choose).mod.functions.values()
    module = IRModule({"main": scheduled.with_attr("global_symbol", "main")})
    return build_executable(module, target)


def time_kernel(func: tirx.PrimFunc, target: CudaTarget, instruction: str) -> float:
    """Measure the seconds of a kernel on random operands, by events."""
    device, generator = tvm.cuda(0), np.random.default_rng(0)
    arguments = []
    for param in func.params:
        shape = tuple(int(extent) for extent in param.shape)
        limits: Any = np.iinfo(str(param.dtype))
        drawn = generator.integers(limits.min, limits.max, shape, str(param.dtype), endpoint=True)
        arguments.append(tvm.runtime.tensor(drawn, device))
    library = build_kernel(func, target, instruction)
    timer = library.jit().time_evaluator("main", device, number=10, repeat=20, min_repeat_ms=50)
    return float(timer(*arguments).median)


def time_network(name: str, batch: int, target: CudaTarget) -> float:
    """Measure the seconds of one inference of a zoo network at 224x224, input on the card."""
    import bnn_tvm
    from bnn_tvm.zoo.catalogue import get_model

    network = get_model(name)
    network.initialize()
    shape = (batch, 3, 224, 224)
    package = bnn_tvm.compile(network, target=target.id, input_shape=shape)
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(package.library)
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cuda(0))
        images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        timer = machine.time_evaluator("main", tvm.cuda(0), number=10, repeat=20)
        return float(timer(tvm.runtime.tensor(images, tvm.cuda(0))).median)
