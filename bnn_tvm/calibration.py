"""Run a model on data while it is compiled: what its float layers read, what its outputs become."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule

from .build import schedule_module
from .errors import InputError
from .package.manifest import TensorInfo
from .package.precision import (
    BF16,
    BF16_WEIGHTS,
    FP16,
    INT8,
    LOWERED,
    TF32,
    LayerPrecision,
    OutputChange,
)
from .passes.dataflow import Emitter, main_result, rebuild_main, visit_bindings
from .passes.float_layers import float_layers
from .passes.fold_scales import fold_scales
from .passes.fuse_regions import fuse_regions
from .passes.lower_regions import lower_regions
from .passes.quantize_layers import quantize_layers
from .passes.round_layers import round_layers
from .passes.round_to_tf32 import round_to_tf32
from .target import Target

_SEED = 0
_RANDOM_BATCHES = 8

Batch = list[np.ndarray]
Ranges = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class CalibrationData:
    """Inputs to run a model on.

    Attributes
    ----------
    batches : tuple of list of numpy.ndarray
        The arrays of each run, in the order of the model's inputs.
    description : str
        For the report.
    """

    batches: tuple[Batch, ...]
    description: str


def standard_normal_data(inputs: Sequence[TensorInfo]) -> CalibrationData:
    """Draw standard normal numbers, the same for every model of these inputs."""
    generator = np.random.default_rng(_SEED)
    batches = tuple(
        [generator.standard_normal(info.shape).astype(info.dtype) for info in inputs]
        for _ in range(_RANDOM_BATCHES)
    )
    return CalibrationData(
        batches, f"{_RANDOM_BATCHES} batches of standard normal numbers of seed {_SEED}"
    )


def split_batches(inputs: Sequence[TensorInfo], arrays: Sequence[np.ndarray]) -> CalibrationData:
    """Cut one array an input into batches of the model's shape.

    Raises
    ------
    InputError
        If there are not as many arrays as inputs, or one is not a whole number of batches of its
        input's shape and dtype, or they are of different numbers.
    """
    if len(arrays) != len(inputs):
        names = ", ".join(info.name for info in inputs)
        raise InputError(
            f"{len(arrays)} calibration arrays for the inputs {names}; give one for each, in order"
        )
    counts = {_count_batches(info, array) for info, array in zip(inputs, arrays, strict=True)}
    if len(counts) > 1:
        raise InputError("the calibration arrays hold different numbers of batches")
    parts = [np.split(array, counts.copy().pop()) for array in arrays]
    batches = tuple(list(batch) for batch in zip(*parts, strict=True))
    return CalibrationData(batches, f"{len(batches)} batches of given data")


def _count_batches(info: TensorInfo, array: np.ndarray) -> int:
    size, *rest = info.shape
    fits = array.ndim == len(info.shape) and list(array.shape[1:]) == rest
    if not fits or array.shape[0] % size or not array.shape[0] or array.dtype != info.dtype:
        wanted = "x".join(map(str, ("n", *rest)))
        raise InputError(
            f"calibration data for {info.name} is {array.dtype} of shape {list(array.shape)}; "
            f"it must be {info.dtype} of {wanted}, with n a multiple of {size}"
        )
    return array.shape[0] // size


def lower_precision(
    mod: IRModule,
    layers: tuple[LayerPrecision, ...],
    data: CalibrationData,
    target: Target,
) -> tuple[IRModule, list[Batch], list[Batch]]:
    """Run float layers of a model in lower precision.

    Parameters
    ----------
    mod : IRModule
        Before its regions are outlined.
    layers : tuple of LayerPrecision
        What each gets.
    data : CalibrationData
        Gives the ranges of `INT8`, and what outputs are compared on.
    target : Target
        One that this machine can run.

    Returns
    -------
    IRModule
    list of list of numpy.ndarray
        The outputs of each batch in float32.
    list of list of numpy.ndarray
        Those in lower precision.

    Raises
    ------
    InputError
        If a layer reads what is not finite.
    """
    ranges, exact = measure_float_layers(mod, data, target)
    named = {p: {one.layer for one in layers if one.precision == p} for p in LOWERED}
    rounded = round_layers(mod, named[BF16], named[BF16_WEIGHTS])
    rounded = round_layers(rounded, named[FP16], dtype="float16")
    rounded = round_to_tf32(rounded) if named[TF32] else rounded
    quantized = quantize_layers(rounded, {name: ranges[name] for name in named[INT8]})
    lowered = fold_scales(quantized)
    return lowered, exact, list(_run(lowered, data, target))


def measure_float_layers(
    mod: IRModule, data: CalibrationData, target: Target
) -> tuple[Ranges, list[Batch]]:
    """Find the range of what each float layer reads, and the outputs, in float32.

    Parameters
    ----------
    mod : IRModule
        Before its regions are outlined.
    data : CalibrationData
    target : Target
        One that this machine can run.

    Returns
    -------
    dict of str to (float, float)
        The layer's name to the least and the greatest number.
    list of list of numpy.ndarray
        The outputs of each batch.
    """
    layers = float_layers(mod)
    count = len(main_result(mod))
    ranges: Ranges = {}
    outputs = []
    for results in _run(
        _with_results(mod, [layer.value.args[0] for layer in layers]), data, target
    ):
        outputs.append(results[:count])
        for layer, read in zip(layers, results[count:], strict=True):
            low, high = ranges.get(layer.var.name, (np.inf, -np.inf))
            ranges[layer.var.name] = min(low, float(read.min())), max(high, float(read.max()))
    _check_finite(ranges)
    return ranges, outputs


def _check_finite(ranges: Ranges) -> None:
    for name, ends in ranges.items():
        if not np.isfinite(ends).all():
            raise InputError(
                f"layer {name} reads numbers that are not finite; give other --calibration data"
            )


def _with_results(mod: IRModule, more: Sequence[relax.Expr]) -> IRModule:
    """Let ``main`` return more of what it computes."""

    def keep(emitter: Emitter, binding: relax.VarBinding) -> relax.Expr:
        value = emitter.remap(binding.value)
        is_call = isinstance(value, relax.Call)
        return emitter.emit(value, binding.var.name) if is_call else value

    return rebuild_main(mod, lambda emitter: visit_bindings(mod, emitter, keep), more=more)


def _run(mod: IRModule, data: CalibrationData, target: Target) -> Iterator[Batch]:
    scheduled = schedule_module(lower_regions(fuse_regions(mod), target), target)
    executable = tvm.compile(scheduled.mod, target=target.to_tvm())
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    for batch in data.batches:
        results = main(*[tvm.runtime.tensor(array) for array in batch])
        yield [result.numpy() for result in _as_list(results)]


def _as_list(results: object) -> Iterable[tvm.runtime.Tensor]:
    return results if isinstance(results, tvm.ir.Array) else [results]


def compare_outputs(
    names: Sequence[str], exact: Sequence[Batch], changed: Sequence[Batch]
) -> tuple[OutputChange, ...]:
    """Tell how far outputs are from those of float32 layers."""
    by_output = zip(names, zip(*exact, strict=True), zip(*changed, strict=True), strict=True)
    return tuple(
        _compare(name, np.concatenate(before), np.concatenate(after))
        for name, before, after in by_output
    )


def _compare(name: str, before: np.ndarray, after: np.ndarray) -> OutputChange:
    size = np.abs(before.astype(np.float64))
    difference = np.abs(after.astype(np.float64) - before)
    is_rows = before.ndim == 2 and before.shape[1] > 1
    same = before.argmax(axis=-1) == after.argmax(axis=-1) if is_rows else np.zeros(0, bool)
    largest, mean = float(difference.max()), float(difference.mean())
    return OutputChange(
        name=name,
        largest_absolute=largest,
        mean_absolute=mean,
        largest_relative=largest / float(size.max()) if largest else 0.0,
        mean_relative=mean / float(size.mean()) if mean else 0.0,
        rows=same.size,
        same_top1=int(same.sum()),
    )
