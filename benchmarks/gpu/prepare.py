"""Makes the files that are timed: device code, packages, and what the product must give.

It needs nvcc and MXNet, but no GPU. Timing needs these files, and neither of the two.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from bnn_tvm.schedules.choices import Choices, Choose, walk
from bnn_tvm.schedules.cuda_gemm import multiply
from tvm import te, tirx
from tvm.ir import IRModule
from tvm.s_tir import Schedule

import bnn_tvm
from bnn_tvm import compiler
from bnn_tvm.build import build_executable
from bnn_tvm.kernels.gemm import (
    count_disagreements,
    count_ones,
    dense_windows,
    lay_out,
    plan_gemm,
)
from bnn_tvm.kernels.popcount_sums import Planes
from bnn_tvm.kernels.signature import kernel_signature
from bnn_tvm.kernels.stages import KERNEL, NUM_OUTPUTS, RESULT, WEIGHT
from bnn_tvm.passes.dataflow import called_kernel, constant_of, main_bindings
from bnn_tvm.target import CudaTarget, detect_host
from bnn_tvm.toolchain import find_linker
from bnn_tvm.tuning.environment import describe_environment
from bnn_tvm.tuning.records import BestSchedule, write_best, write_environment

from .. import networks
from ..cases import BITS_LAYER, BITS_LENGTH, IMAGE, Block
from .peak import compile_peak
from .work import (
    LAYERS,
    LIBRARY,
    MMA,
    PACKAGE,
    PEAK_FILE,
    PRODUCT_SIZE,
    TARGET_FILE,
    THROUGHPUT,
    WGMMA,
    WORD_BITS,
    Work,
    draw_words,
)

# The choice of the rule for products that says what multiplies.
_INSTRUCTION = "instruction"
_RULE = "cuda.multiply"
# Options of a choice that are timed.
_MOST = {_INSTRUCTION: 2, "tile": 4, "stages": 2}
# Of the first axis of a product's output, and of a layer's: how much of it is checked.
_CHECKED_ROWS, _CHECKED_IMAGES = 16, 2


@dataclass(frozen=True)
class Kernel:
    """A kernel alone.

    Attributes
    ----------
    func : tirx.PrimFunc
        Of the data, which `draw_words` gives, of constants, and of its output.
    constants : tuple of numpy.ndarray
    expected : numpy.ndarray
        The first rows, or images, of the output.
    """

    func: tirx.PrimFunc
    constants: tuple[np.ndarray, ...]
    expected: np.ndarray


def prepare(
    works: Iterable[Work], folder: Path, target: CudaTarget, progress: Callable[[str], None]
) -> None:
    """Make files.

    Parameters
    ----------
    works : iterable of Work
    folder : Path
        Made if it is missing; files of the same names are replaced.
    target : CudaTarget
    progress : callable
        Gets the name of each file before it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PEAK_FILE).write_bytes(compile_peak(target))
    (folder / TARGET_FILE).write_text(target.id)
    for work in works:
        progress(work.title)
        place = work.place(folder)
        place.mkdir(exist_ok=True)
        for path in work.files(folder).values():
            path.unlink()
        if work.is_network:
            _write_packages(place, work, target)
        else:
            kernel = _make_kernel(work, target)
            write_operands(work.operands(folder), kernel)
            _write_libraries(place, kernel.func, target)


def _write_packages(place: Path, work: Work, target: CudaTarget) -> None:
    """Compile a network as it is by hand and, to get most images a second, by warpgroups."""
    graph, shape = networks.zoo_network(work.name), (work.batch, *IMAGE)
    bnn_tvm.compile(graph, target=target.id, input_shape=shape).save(place / f"{MMA}{PACKAGE}")
    if work != THROUGHPUT or not target.gpu.warpgroup_mma:
        return
    lowered = compiler.prepare(graph, target=target.id, input_shape=shape).lowered
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as log:
        _write_log(Path(log), lowered, target, WGMMA)
        package = bnn_tvm.compile(graph, target=target.id, input_shape=shape, tune_log=log)
    package.save(place / f"{WGMMA}{PACKAGE}")


def _write_log(folder: Path, lowered: IRModule, target: CudaTarget, instruction: str) -> None:
    """Write a tuning log that takes an instruction in all kernels that have the choice."""
    write_environment(folder, describe_environment(target))
    for func in lowered.functions.values():
        choices = _choices(func, target, instruction) if isinstance(func, tirx.PrimFunc) else {}
        if choices.get(_INSTRUCTION) == instruction:
            write_best(
                folder, BestSchedule(kernel_signature(func), _RULE, dict(choices), 0.0, 0.0, 0)
            )


def _choices(func: tirx.PrimFunc, target: CudaTarget, instruction: str) -> Choices:
    """Write down what the rule takes by hand once its instruction is given."""
    taken: dict[str, str] = {}

    def choose(name: str, options: Sequence[Any]) -> Any:
        wanted = name == _INSTRUCTION and instruction in options
        taken[name] = instruction if wanted else str(options[0])
        return instruction if wanted else options[0]

    multiply(func, target, choose)
    return taken


def _write_libraries(place: Path, func: tirx.PrimFunc, target: CudaTarget) -> None:
    """Compile a kernel by each instruction, with some tiles and steps in shared memory."""
    for choices, schedule in list_variants(func, target):
        instruction = choices.get(_INSTRUCTION, MMA)
        name = f"{instruction} {choices['tile']}, {choices['stages']} steps"
        library = build_kernel(schedule, target)
        library.export_library(str(place / f"{name}{LIBRARY}"), cc=find_linker(target))


def list_variants(func: tirx.PrimFunc, target: CudaTarget) -> list[tuple[Choices, Schedule]]:
    """Schedule a kernel in the ways that are timed; the first is that by hand."""

    def run(choose: Choose) -> Schedule:
        schedule = multiply(func, target, lambda n, options: choose(n, options[: _MOST.get(n, 1)]))
        assert schedule is not None
        return schedule

    return list(walk(run))


def build_kernel(schedule: Schedule, target: CudaTarget) -> Any:
    """Compile a scheduled kernel as ``main``."""
    (scheduled,) = schedule.mod.functions.values()
    module = IRModule({"main": scheduled.with_attr("global_symbol", "main")})
    return build_executable(module, target)


def _make_kernel(work: Work, target: CudaTarget) -> Kernel:
    block = LAYERS.get(work)
    if block is None:
        return make_product(PRODUCT_SIZE, target)
    return make_layer(block, work.batch, target)


def write_operands(path: Path, kernel: Kernel) -> None:
    """Write a kernel's constants, what it must give, and the shapes of its data and output."""
    data, *_, output = map(_shape, kernel.func.params)
    np.savez(path, *kernel.constants, expected=kernel.expected, data=data, output=output)


def _shape(tensor: tirx.Var) -> tuple[int, ...]:
    return tuple(int(extent) for extent in tensor.shape)


def make_product(size: int, target: CudaTarget) -> Kernel:
    """Make a product of square matrices of bits: packed in, int32 out."""
    shape = (size, size // WORD_BITS)
    words = te.placeholder(shape, "uint32", "argument0")
    windows = dense_windows(words, shape)
    plan = plan_gemm(windows, size, target.gpu.multiprocessors)
    columns = draw_words(shape, seed=1)
    blocked = columns[None].swapaxes(1, 2)
    constants = lay_out(blocked, plan), count_ones(blocked, Planes(1, 1))
    weight = te.placeholder(constants[0].shape, "uint32", WEIGHT)
    ones = te.placeholder((size,), "int32", "ones_of_weight")
    count = count_disagreements(windows, weight, plan, ones)
    result = te.compute((*windows.shape, size), lambda *index: count(*index), name=RESULT)
    func = te.create_prim_func([words, weight, ones, result])
    rows = draw_words(shape)[:_CHECKED_ROWS]
    differing = [np.unpackbits((row ^ columns).view(np.uint8), axis=-1) for row in rows]
    expected = np.stack([bits.sum(axis=-1, dtype=np.int32) for bits in differing])
    attrs = {KERNEL: "bitserial_dense", NUM_OUTPUTS: 1}
    return Kernel(func.with_attrs(attrs), constants, expected)


def make_layer(block: Block, batch: int, target: CudaTarget) -> Kernel:
    """Take a layer that reads and writes bits out of a chain of its kind."""
    shape = (batch, *block.shape)
    chain = networks.bits_chain(block, BITS_LENGTH)
    prepared = compiler.prepare(chain, target=target.id, input_shape=shape)
    name = prepared.manifest.layers[BITS_LAYER].kernel
    calls = [binding.value for binding in main_bindings(prepared.lowered)]
    call = next(call for call in calls if called_kernel(call) == name)
    func = prepared.lowered[name]
    constants = tuple(map(constant_of, call.args[1].fields[1:]))
    return Kernel(func, constants, _run_here(func, constants)[:_CHECKED_IMAGES])


def _run_here(func: tirx.PrimFunc, constants: Sequence[np.ndarray]) -> np.ndarray:
    """Run a kernel's algorithm on this machine's processor."""
    module = IRModule({"main": func.with_attr("global_symbol", "main")})
    library = tvm.compile(module, detect_host().to_tvm())
    arrays = [tvm.runtime.tensor(a) for a in (draw_words(_shape(func.params[0])), *constants)]
    output = tvm.runtime.empty(_shape(func.params[-1]), str(func.params[-1].dtype))
    library["main"](*arrays, output)
    return output.numpy()
