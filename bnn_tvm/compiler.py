"""From a model to a package: the stages in order, and nothing else."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.ir import IRModule

from .build import ScheduledModule, build_executable, build_library, schedule_module
from .calibration import compare_outputs, lower_precision, split_batches, standard_normal_data
from .device import LocalDevice
from .embed.library import build_c_library
from .errors import InputError, TuneLogWarning
from .importer import Graph, import_graph
from .importer.learned import count_other_parameters
from .layer_precision import DOT_INSTRUCTIONS, ON_GPUS, plan_layers
from .model_source import Shape, input_shapes, read_model
from .package import CPackage, Package
from .package.manifest import Manifest, TensorInfo
from .package.precision import EXACT, FLOAT32, FLOAT_PRECISIONS, INT8, PrecisionInfo
from .passes.batch import images_that_fit
from .passes.dataflow import MAIN, dtype_of, main_result, shape_of
from .passes.fuse_pooling import fuse_pooling
from .passes.lower_regions import lower_regions
from .passes.pipeline import FLOAT_PASSES
from .passes.split_batch import split_batch
from .passes.write_in_place import write_in_place
from .report import describe_kernels, describe_layers, follow_merges
from .report_graph import describe_graph
from .schedules import NO_RECORDS, TUNED
from .selftest import Run, open_executable, open_session, record
from .target import (
    CudaTarget,
    Target,
    detect_host,
    get_processor,
    get_target,
    require_instruction,
)
from .tuning.environment import describe_environment
from .tuning.records import TuneLog, find_log

Progress = Callable[[str, int, int], None]

_SCHEMA_VERSION = 1
_RECORDING = "recording the self-test"
# Of `describe`: reading, importing, lowering and scheduling around the passes.
_STAGES = len(FLOAT_PASSES) + 4
_IMAGE_LAYOUTS = {4: "NCHW", 5: "NCDHW", 3: "NCW", 2: "NC"}


def compile(
    model: str | os.PathLike[str] | Graph | Any,
    *,
    target: str = "host",
    input_shape: Shape | Mapping[str, Shape] | None = None,
    params: str | os.PathLike[str] | None = None,
    tune_log: str | os.PathLike[str] | None = None,
    float_precision: str = FLOAT32,
    calibration: Sequence[np.ndarray] = (),
    progress: Progress | None = None,
) -> Package:
    """Compile a model for a target.

    Parameters
    ----------
    model : path, Graph or mxnet.gluon.HybridBlock
        A ``*-symbol.json`` file, a graph that the importer read, or an initialized network.
    target : str
        A target's id, ``host`` for this machine, or the path of a ``.toml`` file.
    input_shape : tuple of int or mapping of str to tuple of int, optional
        Shape of the input, batch included, or of each input by name.
    params : path, optional
        The ``.params`` file, if it is not the one beside the symbol file.
    tune_log : path, optional
        The folder of a tuning log, if not the one that is installed for the target. Kernels that
        it knows are scheduled as it says; where it does not fit, the manifest says why.
    float_precision : str
        What layers that do not run on bits compute in: ``float32``, which is exact, ``bf16`` or
        ``int8`` on processors, ``fp16`` or ``tf32`` on GPUs. What each layer gets of that, and what
        it changes, measured on this machine, is in the manifest.
    calibration : sequence of numpy.ndarray, optional
        For all but the first: one array an input, any number of batches long, to take ranges from
        and to compare outputs on; standard normal numbers if left out.
    progress : callable, optional
        Called with the stage's name, its index and the number of stages before each stage.

    Returns
    -------
    Package

    Raises
    ------
    ModelError
        If the model cannot be read or has operators that are not supported.
    InputError
        If the input shape is missing or does not fit, or the calibration data does not.
    TargetError
        If there is no such target, or it lacks what the precision needs.
    ToolchainError
        If there is nothing to link the library with.
    TuneLogError
        If there is no tuning log for the target in the folder, or it is damaged.

    Warns
    -----
    TuneLogWarning
        If schedules are used that were measured in another environment.
    """
    if float_precision not in FLOAT_PRECISIONS:
        choices = ", ".join(FLOAT_PRECISIONS)
        raise InputError(f"unknown float precision {float_precision!r}; choose one of {choices}")
    lowering = _Lowering(float_precision, tuple(calibration))
    compiled_for = lowering.find_target(target)
    stages = _Stages(progress, _STAGES + 2 + lowering.is_wanted)
    prepared = _prepare(model, compiled_for, input_shape, params, tune_log, stages, lowering)
    stages.begin("generating code")
    library = build_library(prepared.scheduled, compiled_for)
    stages.begin(_RECORDING)
    package = Package(prepared.manifest, library)
    is_for_us = _runs_here(compiled_for)
    run = open_session(package.session()) if is_for_us else _open_here(prepared)
    recording = record(run, prepared.manifest.inputs)
    manifest = replace(prepared.manifest, self_test_tolerance=recording.tolerance)
    return replace(package, manifest=manifest, selftest=recording.to_files())


def compile_c(
    model: str | os.PathLike[str] | Graph | Any,
    *,
    target: str = "host",
    input_shape: Shape | Mapping[str, Shape] | None = None,
    params: str | os.PathLike[str] | None = None,
    tune_log: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> CPackage:
    """Compile a model to a C library that needs no runtime.

    Takes what `compile` takes, and raises the same errors, but needs no compiler to link with.

    Returns
    -------
    CPackage

    Raises
    ------
    ModelError
        Also if an input or output is not float32.
    TargetError
        Also if the target is a GPU.
    """
    compiled_for = get_processor(target)
    stages = _Stages(progress, _STAGES + 2)
    prepared = _prepare(model, compiled_for, input_shape, params, tune_log, stages)
    stages.begin(_RECORDING)
    recording = record(_open_here(prepared), prepared.manifest.inputs)
    manifest = replace(prepared.manifest, self_test_tolerance=recording.tolerance)
    stages.begin("generating code")
    return CPackage(
        manifest, build_c_library(prepared.scheduled, manifest, compiled_for, recording)
    )


def _open_here(prepared: Prepared) -> Run:
    """Compile a prepared model once more, for this machine, where nothing may be there to link."""
    host = detect_host()
    mod = schedule_module(lower_regions(prepared.fused, host), host).mod
    return open_executable(build_executable(mod, host))


def _runs_here(target: Target) -> bool:
    """Tell whether this machine's processor runs code for a target; a GPU's host is not enough."""
    machine = LocalDevice.detect()
    same = machine.architecture == target.architecture and not target.is_bare_metal
    return same and not isinstance(target, CudaTarget) and not machine.lacks(target.cpu_flags)


def describe(
    model: str | os.PathLike[str] | Graph | Any,
    *,
    target: str = "host",
    input_shape: Shape | Mapping[str, Shape] | None = None,
    params: str | os.PathLike[str] | None = None,
    tune_log: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Tell what compiling a model would give; generates no code and so needs no linker.

    Takes what `compile` takes, and raises the same errors but for the last.

    Returns
    -------
    Manifest
        That of the package which `compile` makes, but for what its self-test records.
    """
    return prepare(
        model,
        target=target,
        input_shape=input_shape,
        params=params,
        tune_log=tune_log,
        progress=progress,
    ).manifest


@dataclass(frozen=True)
class Prepared:
    """A model before code is generated.

    Attributes
    ----------
    fused : IRModule
        Its regions as functions in float.
    lowered : IRModule
        Its kernels as algorithms.
    scheduled : IRModule
        Its kernels as loops.
    manifest : Manifest
    """

    fused: IRModule
    lowered: IRModule
    scheduled: IRModule
    manifest: Manifest


def prepare(
    model: str | os.PathLike[str] | Graph | Any,
    *,
    target: str = "host",
    input_shape: Shape | Mapping[str, Shape] | None = None,
    params: str | os.PathLike[str] | None = None,
    tune_log: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Do all of `compile` but generating code; takes and raises the same."""
    stages = _Stages(progress, _STAGES)
    return _prepare(model, get_target(target), input_shape, params, tune_log, stages)


def _prepare(
    model: Any,
    target: Target,
    input_shape: Shape | Mapping[str, Shape] | None,
    params: str | os.PathLike[str] | None,
    tune_log: str | os.PathLike[str] | None,
    stages: _Stages,
    lowering: _Lowering | None = None,
) -> Prepared:
    """Run all stages but the last."""
    log = find_log(target, None if tune_log is None else Path(tune_log))
    stages.begin("reading the model")
    name, graph = read_model(model, params, input_shape)
    shapes = input_shapes(graph, input_shape)
    stages.begin("importing to Relax")
    imported = import_graph(graph, shapes)
    inputs, outputs = _border(imported)
    divided, precision = _run_passes(imported, stages), EXACT
    if lowering is not None and lowering.is_wanted:
        stages.begin(f"measuring what {lowering.precision} changes")
        divided, precision = lowering.apply(divided, inputs, outputs, target)
    stages.begin(FLOAT_PASSES[-1].__name__)
    fused = FLOAT_PASSES[-1](divided)
    stages.begin(lower_regions.__name__)
    lowered, images = _lower(fused, target)
    stages.begin("scheduling kernels")
    merged = _save_memory(lowered, target)
    records = NO_RECORDS if log is None else log.records()
    scheduled = _save_traffic(schedule_module(merged, target, records), target)
    _warn_of_differences(log, scheduled, target)
    layers = follow_merges(describe_layers(imported, divided, lowered), merged)
    manifest = Manifest(
        schema_version=_SCHEMA_VERSION,
        name=name,
        versions={"bnn_tvm": version("bnn_tvm"), "tvm": tvm.__version__},
        target=target.info(),
        inputs=inputs,
        outputs=outputs,
        kernels=describe_kernels(scheduled, layers),
        layers=layers,
        other_parameters=count_other_parameters(graph),
        graph=follow_merges(describe_graph(divided, fused, lowered), merged),
        precision=precision,
        images_at_a_time=images,
    )
    return Prepared(fused, merged, scheduled.mod, manifest)


def _lower(fused: IRModule, target: Target) -> tuple[IRModule, int]:
    """Lower a model for as many images at a time as fit the cache; say how many, 0 for all."""
    whole = lower_regions(fused, target)
    images = images_that_fit(whole, target)
    split = split_batch(fused, images)
    return (whole, 0) if split is fused else (lower_regions(split, target), images)


def _save_memory(lowered: IRModule, target: Target) -> IRModule:
    """Merge kernels where there is little memory for what lies between them."""
    return fuse_pooling(lowered) if target.is_bare_metal else lowered


def _save_traffic(scheduled: ScheduledModule, target: Target) -> ScheduledModule:
    """Let kernels write over what they read; on a GPU other threads may still read it."""
    if isinstance(target, CudaTarget):
        return scheduled
    mod = write_in_place(scheduled.mod)
    kernels = {name: replace(old, func=mod[name]) for name, old in scheduled.kernels.items()}
    return ScheduledModule(mod, kernels)


def _warn_of_differences(log: TuneLog | None, scheduled: ScheduledModule, target: Target) -> None:
    """Warn if schedules of a log are used that was measured elsewhere, or with other versions."""
    sources = {kernel.source for kernel in scheduled.kernels.values()}
    if log is None or TUNED not in sources:
        return
    is_here = target.architecture == LocalDevice.detect().architecture
    same_machine = is_here and not isinstance(target, CudaTarget)
    if differences := log.environment.differences(describe_environment(target), same_machine):
        warnings.warn(
            f"the tuning log of {target.id} was measured {'; '.join(differences)}: "
            "schedules may be slower than they could be, tune again with bnn-tvm tune",
            TuneLogWarning,
            stacklevel=4,
        )


class _Stages:
    """Counts the stages of one compilation and reports each as it begins."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress = progress
        self._total = total
        self._index = 0

    def begin(self, name: str) -> None:
        if self._progress is not None:
            self._progress(name.replace("_", " "), self._index, self._total)
        self._index += 1


@dataclass(frozen=True)
class _Lowering:
    """What was asked of the layers that do not run on bits."""

    precision: str
    arrays: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if self.arrays and not self.is_wanted:
            raise InputError(
                "calibration data is for layers in lower precision; "
                "leave it out or ask for a --float-precision other than float32"
            )

    @property
    def is_wanted(self) -> bool:
        return self.precision != FLOAT32

    def find_target(self, name: str) -> Target:
        """Find a target that gains by the precision; ``host`` is the one that gains most."""
        if not self.is_wanted:
            return get_target(name)
        instruction = DOT_INSTRUCTIONS[self.precision]
        is_for_gpu = self.precision in ON_GPUS
        target = get_target(name) if is_for_gpu else get_processor(name, instruction)
        if is_for_gpu or self.precision == INT8:
            require_instruction(target, instruction)
        return target

    def apply(
        self,
        mod: IRModule,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        target: Target,
    ) -> tuple[IRModule, PrecisionInfo]:
        """Lower the precision; measure on the target, or on this machine if that is another."""
        data = split_batches(inputs, self.arrays) if self.arrays else standard_normal_data(inputs)
        here = target if _runs_here(target) else detect_host()
        layers = plan_layers(mod, self.precision, target)
        lowered, exact, changed = lower_precision(mod, layers, data, here)
        changes = compare_outputs([output.name for output in outputs], exact, changed)
        return lowered, PrecisionInfo(self.precision, data.description, changes, layers)


def _run_passes(mod: IRModule, stages: _Stages) -> IRModule:
    """Run the passes but the last, which outlines."""
    for run in FLOAT_PASSES[:-1]:
        stages.begin(run.__name__)
        mod = run(mod)
    return mod


def _border(mod: IRModule) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """Describe the inputs and outputs of the imported module."""
    inputs = tuple(
        TensorInfo(p.name, shape_of(p), dtype_of(p), _IMAGE_LAYOUTS.get(len(shape_of(p)), ""))
        for p in mod[MAIN].params
    )
    outputs = tuple(
        TensorInfo(head.name, shape_of(head), dtype_of(head), "") for head in main_result(mod)
    )
    return inputs, outputs
