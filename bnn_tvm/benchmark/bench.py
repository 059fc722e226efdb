"""Benchmark a package against baselines: check the numbers, then time all in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..device import LocalDevice
from ..errors import InputError
from ..gpu import find_gpu
from ..package import Package
from .condition import Condition
from .contestants import (
    Contestant,
    Inputs,
    Outputs,
    check_outputs,
    open_baseline,
    open_package,
    random_inputs,
)
from .environment import Environment, describe_environment
from .layers import KernelReport, time_kernels
from .measure import Plan, Spread, Timing, measure_in_turn

_MODELS_BY_EVENTS = (
    "by the GPU's events on a warm clock: inputs and outputs stay there, and the recorded graph is "
    "replayed"
)
_KERNELS_BY_EVENTS = "each alone by the GPU's events, on a warm clock"


@dataclass(frozen=True)
class ModelReport:
    """The measured time of one whole model.

    Attributes
    ----------
    label : str
    seconds : Spread
        Of one inference.
    speedup : Spread
        This model's time divided by the benchmarked package's, round by round: above 1
        where the package is faster. 1 for the package itself.
    largest_difference : float
        Largest absolute difference between its outputs and the package's.
    same_class : float
        Share of rows whose largest output stands at the same place.
    """

    label: str
    seconds: Spread
    speedup: Spread
    largest_difference: float
    same_class: float


@dataclass(frozen=True)
class NumberCheck:
    """What a package's outputs on a board were held against before it was timed.

    Attributes
    ----------
    against : str
        What gave the expected outputs.
    largest_difference : float
        Largest absolute difference from them.
    """

    against: str
    largest_difference: float


@dataclass(frozen=True)
class BenchReport:
    """Everything that one benchmark measured; the first model is the package itself.

    Attributes
    ----------
    name, target : str
    environment : Environment
    models : tuple of ModelReport
    kernels : tuple of KernelReport
    before, after : Condition or None
        The machine before anything was timed, and at the end.
    check : NumberCheck or None
        Of a package on another machine.
    model_timing, kernel_timing : str
        How the models' and the kernels' times were taken.
    """

    name: str
    target: str
    environment: Environment
    models: tuple[ModelReport, ...]
    kernels: tuple[KernelReport, ...]
    before: Condition | None = None
    after: Condition | None = None
    check: NumberCheck | None = None
    model_timing: str = "copies of inputs and outputs included"
    kernel_timing: str = "each alone on warm data"


def bench(
    path: Path,
    baselines: Sequence[Path],
    device: LocalDevice,
    *,
    threads: int = 1,
    per_layer: bool = False,
    inputs: Sequence[np.ndarray] | None = None,
    plan: Plan | None = None,
) -> BenchReport:
    """Benchmark the package at `path`.

    Parameters
    ----------
    path : Path
        A package file.
    baselines : sequence of Path
        Packages, or ``*-symbol.json`` files for MXNet.
    device : LocalDevice
    threads : int
    per_layer : bool
        Whether to time each kernel alone too.
    inputs : sequence of np.ndarray, optional
        The package's inputs; seeded normal numbers if left out.
    plan : Plan, optional

    Raises
    ------
    PackageError, ModelError, DeviceError, ToolchainError
        If a contestant cannot be opened.
    InputError
        If the inputs do not fit, a contestant's outputs have another shape than the
        package's, or are not finite.
    """
    package = Package.load(path)
    plan = plan or Plan()
    values = named_inputs(package, inputs)
    own = open_package(path.name, package, threads, device)
    rivals = [
        open_baseline(other, values, threads, device, label)
        for other, label in zip(baselines, label_baselines(path, baselines), strict=True)
    ]
    before = Condition.now()
    on_gpu = own.session is not None and own.session.on_gpu
    report = BenchReport(
        name=package.manifest.name,
        target=package.manifest.target.id,
        models=_time_models([own, *rivals], values, plan),
        kernels=_time_layers(own, rivals, plan) if per_layer else (),
        environment=describe_environment(device, threads),
        before=before,
        after=Condition.now(),
    )
    return by_events(report, find_gpu().name) if on_gpu else report


def by_events(report: BenchReport, gpu: str) -> BenchReport:
    """Say in a report that a GPU of this name ran the package, and that its events timed it."""
    return replace(
        report,
        environment=replace(report.environment, gpu=gpu),
        model_timing=_MODELS_BY_EVENTS,
        kernel_timing=_KERNELS_BY_EVENTS,
    )


def named_inputs(package: Package, inputs: Sequence[np.ndarray] | None) -> Inputs:
    """Give a package's inputs their names; random ones if none are given.

    Raises
    ------
    InputError
        If their number is wrong.
    """
    if inputs is None:
        return random_inputs(package)
    names = [info.name for info in package.manifest.inputs]
    if len(inputs) != len(names):
        raise InputError(f"the package has {len(names)} inputs, {len(inputs)} were given")
    return dict(zip(names, inputs, strict=True))


def label_baselines(path: Path, baselines: Sequence[Path]) -> list[str]:
    """Name each baseline by its file, or by its whole path where file names collide."""
    names = [path.name, *(other.name for other in baselines)]
    return [
        other.name if names.count(other.name) == 1 else f"{other} ({position})"
        for position, other in enumerate(baselines, start=1)
    ]


def _time_models(
    contestants: Sequence[Contestant], inputs: Inputs, plan: Plan
) -> tuple[ModelReport, ...]:
    outputs = {one.label: check_outputs(one, inputs) for one in contestants}
    calls = {one.label: one.bind(inputs) for one in contestants}
    timings = measure_in_turn(calls, plan)
    own = contestants[0].label
    return tuple(report_model(label, own, timings, outputs) for label in timings)


def report_model(
    label: str, own: str, timings: Mapping[str, Timing], outputs: Mapping[str, Outputs]
) -> ModelReport:
    """Compare one model's times and outputs with those of the benchmarked package, `own`."""
    difference, same_class = compare_outputs(label, outputs[label], outputs[own])
    return ModelReport(
        label=label,
        seconds=timings[label].spread,
        speedup=timings[label].ratio_to(timings[own]),
        largest_difference=difference,
        same_class=same_class,
    )


def compare_outputs(label: str, given: Outputs, expected: Outputs) -> tuple[float, float]:
    """Compare a baseline's outputs with the package's.

    Returns
    -------
    largest_difference, same_class : float
        As in `ModelReport`.

    Raises
    ------
    InputError
        If they have other shapes: then it is another network's.
    """
    shapes = [[a.shape for a in arrays] for arrays in (given, expected)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"baseline {label} gives outputs of shapes {shapes[0]}, the package {shapes[1]}; "
            "name a baseline with the same outputs"
        )
    pairs = list(zip(given, expected, strict=True))
    difference = max(float(np.max(np.abs(a.astype(np.float64) - b))) for a, b in pairs)
    same = float(np.mean(pairs[0][0].argmax(axis=-1) == pairs[0][1].argmax(axis=-1)))
    return difference, same


def _time_layers(
    own: Contestant, rivals: Sequence[Contestant], plan: Plan
) -> tuple[KernelReport, ...]:
    sessions = {one.label: one.session for one in [own, *rivals] if one.session is not None}
    return time_kernels(sessions.pop(own.label), sessions, plan)
