"""Benchmark packages on a board: check the numbers against this machine, then time in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, WrongNumbersError
from ..package import Package
from ..package.manifest import KernelInfo
from .bench import (
    BenchReport,
    NumberCheck,
    by_events,
    compare_outputs,
    label_baselines,
    report_model,
)
from .contestants import Outputs
from .expected import Expected, expected_outputs
from .layers import KernelReport, find_rivals, report_kernel
from .measure import Plan
from .remote import RemoteBoard

Progress = Callable[[str, int, int], None]


def bench_remote(
    packages: Mapping[str, Package],
    board: RemoteBoard,
    *,
    per_layer: bool = False,
    inputs: Sequence[np.ndarray] | None = None,
    reference: Package | None = None,
    plan: Plan | None = None,
    tolerance: float = 1e-4,
    progress: Progress | None = None,
) -> BenchReport:
    """Benchmark a package on a board.

    Parameters
    ----------
    packages : mapping of str to Package
        The package and its baselines, by names for tables.
    board : RemoteBoard
    per_layer : bool
        Whether to time each kernel alone too.
    inputs : sequence of np.ndarray, optional
        The package's inputs; if left out, seeded normal numbers, or what the self-test has if
        this machine can run neither package nor reference.
    reference : Package, optional
        A package of the same model that this machine can run, to compare with.
    plan : Plan, optional
    tolerance : float
        Largest difference from the expected outputs that passes, relative to the largest of them
        or to 1 if that is larger.
    progress : callable, optional
        Called with what is timed, its index and their number before each kernel.

    Raises
    ------
    PackageError
        If the board cannot load a package.
    WrongNumbersError
        If the board's outputs are not the expected ones.
    DeviceError
        Of all kinds.
    InputError
        If the inputs do not fit, or a baseline gives outputs of other shapes.
    """
    plan = plan or Plan()
    own = next(iter(packages))
    for label, package in packages.items():
        board.open(label, package)
    expected = expected_outputs(packages[own], inputs, reference)
    check = _check_numbers(own, board, expected, tolerance)
    outputs = {label: board.run(label, expected.inputs) for label in packages}
    before = board.condition()
    timings = board.time_models(expected.inputs, plan)
    target = packages[own].manifest.target
    report = BenchReport(
        name=packages[own].manifest.name,
        target=target.id,
        models=tuple(report_model(label, own, timings, outputs) for label in packages),
        kernels=_time_layers(own, packages, board, plan, progress) if per_layer else (),
        environment=board.environment,
        before=before,
        after=board.condition(),
        check=check,
    )
    return by_events(report, board.facts.gpu.name) if target.gpu else report


def load_packages(path: Path, baselines: Sequence[Path]) -> dict[str, Package]:
    """Read a package and its baselines, and give each a name.

    Raises
    ------
    PackageError
        If one cannot be read.
    InputError
        If a baseline is a model.
    """
    for other in baselines:
        if other.suffix == ".json":
            raise InputError(f"baseline {other} is a model; a board times packages only")
    labels = [path.name, *label_baselines(path, baselines)]
    files = [path, *baselines]
    return {label: Package.load(file) for label, file in zip(labels, files, strict=True)}


def _check_numbers(
    label: str, board: RemoteBoard, expected: Expected, tolerance: float
) -> NumberCheck:
    given = board.run(label, expected.inputs)
    difference, _ = compare_outputs(label, given, expected.outputs)
    if not difference <= max(tolerance * _scale(expected.outputs), expected.tolerance):
        raise WrongNumbersError(
            f"wrong numbers: outputs of {label} on the board differ by {difference:.3g} from "
            f"{expected.source}; compile for the board's own target, or allow more with "
            "--tolerance"
        )
    return NumberCheck(expected.source, difference)


def _scale(outputs: Outputs) -> float:
    return max(1.0, *(float(np.abs(output.astype(np.float64)).max()) for output in outputs))


def _time_layers(
    own: str,
    packages: Mapping[str, Package],
    board: RemoteBoard,
    plan: Plan,
    progress: Progress | None,
) -> tuple[KernelReport, ...]:
    kernels = packages[own].manifest.kernels
    reports = []
    for index, kernel in enumerate(kernels):
        if progress is not None:
            progress(kernel.name, index, len(kernels))
        reports.append(_time_layer(kernel, own, packages, board, plan))
    return tuple(reports)


def _time_layer(
    kernel: KernelInfo, own: str, packages: Mapping[str, Package], board: RemoteBoard, plan: Plan
) -> KernelReport:
    manifests = {label: package.manifest for label, package in packages.items()}
    rivals = find_rivals(kernel, manifests.pop(own), manifests)
    names = {own: kernel.name, **{label: rival.name for label, rival in rivals.items()}}
    timings = board.time_kernels(names, plan)
    return report_kernel(kernel, timings.pop(own), timings)
