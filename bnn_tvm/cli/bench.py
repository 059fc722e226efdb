"""``bnn-tvm bench``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from .compile import progress_bar
from .link import Link
from .options import (
    DebugOption,
    KeyOption,
    ReferenceOption,
    RpcOption,
    RunnerOption,
    ThreadsOption,
    TimeoutOption,
    ToleranceOption,
    TrackerOption,
    WaitOption,
)

if TYPE_CHECKING:
    import numpy as np

    from ..benchmark.bench import BenchReport
    from ..package import Package


@dataclass(frozen=True)
class _Place:
    """Which machine to measure on; this one if there is no link."""

    device: str
    link: Link
    timeout: float


@dataclass(frozen=True)
class _Work:
    """What to measure."""

    package: Path
    baselines: list[Path]
    per_layer: bool
    inputs: list[np.ndarray] | None
    threads: int
    rounds: int
    reference: Path | None
    tolerance: float


def bench(
    package: Annotated[Path, typer.Argument(help="A package file.")],
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline", help="Another package, or a *-symbol.json for MXNet; may be repeated."
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where to run: local.")] = "local",
    rpc: RpcOption = None,
    tracker: TrackerOption = None,
    key: KeyOption = None,
    runner: RunnerOption = None,
    wait: WaitOption = 60,
    timeout: TimeoutOption = 60,
    reference: ReferenceOption = None,
    tolerance: ToleranceOption = 1e-4,
    per_layer: Annotated[
        bool, typer.Option("--per-layer", help="Time each kernel alone too.")
    ] = False,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="A .npy file; once for each input. Random if left out."),
    ] = None,
    threads: ThreadsOption = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Samples of each model.")] = 30,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the report as JSON to this file.")
    ] = None,
    chart: Annotated[
        Path | None, typer.Option("--chart", help="Draw a bar chart to this .png file.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Check a package's numbers, then time it, here or on a board, in turn with its baselines."""
    from ..package.atomic import check_writable
    from .arrays import read_npy

    for path in (json, chart):
        if path is not None:
            check_writable(path)
    arrays = [read_npy(path) for path in inputs] if inputs else None
    work = _Work(package, baselines or [], per_layer, arrays, threads, rounds, reference, tolerance)
    place = _Place(device, Link(rpc, tracker, key, wait), timeout)
    report = _measure(work, place, runner)
    _show(report)
    _write(report, json, chart)


def _measure(work: _Work, place: _Place, runner: str | None) -> BenchReport:
    if runner is not None:
        return _measure_with_runner(work, place, runner)
    return _measure_remotely(work, place) if place.link.is_given else _measure_here(work, place)


def _measure_here(work: _Work, place: _Place) -> BenchReport:
    from ..benchmark.bench import bench as measure
    from ..benchmark.measure import Plan
    from ..device import find_device

    return measure(
        work.package,
        work.baselines,
        find_device(place.device),
        threads=work.threads,
        per_layer=work.per_layer,
        inputs=work.inputs,
        plan=Plan(rounds=work.rounds),
    )


def _measure_remotely(work: _Work, place: _Place) -> BenchReport:
    from ..benchmark.measure import Plan
    from ..benchmark.remote import RemoteBoard
    from ..benchmark.remote_bench import bench_remote, load_packages

    packages = load_packages(work.package, work.baselines)
    reference = _read_reference(work.reference, packages[work.package.name])
    with place.link.connect() as connection, progress_bar() as show:
        return bench_remote(
            packages,
            RemoteBoard(connection, work.threads, place.timeout),
            per_layer=work.per_layer,
            inputs=work.inputs,
            reference=reference,
            plan=Plan(rounds=work.rounds),
            tolerance=work.tolerance,
            progress=show,
        )


def _measure_with_runner(work: _Work, place: _Place, runner: str) -> BenchReport:
    from ..benchmark.runner import bench_with_runner

    if place.link.is_given or work.baselines or work.inputs or work.threads != 1:
        raise UserError(
            "--runner times one package, on its recorded input and one thread; leave out --rpc, "
            "--tracker, --baseline, --input and --threads"
        )
    return bench_with_runner(work.package, runner, work.rounds, work.per_layer)


def _read_reference(path: Path | None, package: Package) -> Package | None:
    """Read a package, or compile a model for this machine with the package's input shapes."""
    from ..package import Package

    if path is None or path.suffix != ".json":
        return None if path is None else Package.load(path)
    from ..compiler import compile as compile_to_package

    shapes = {info.name: info.shape for info in package.manifest.inputs}
    with progress_bar() as show:
        return compile_to_package(path, input_shape=shapes, progress=show)


def _show(report: BenchReport) -> None:
    from ..benchmark.report import describe_conditions, kernel_table, model_table
    from .tables import make_console

    console = make_console()
    console.print(model_table(report))
    if report.kernels:
        console.print(kernel_table(report))
    for line in describe_conditions(report):
        console.print(line)


def _write(report: BenchReport, json: Path | None, chart: Path | None) -> None:
    from ..benchmark.chart import draw_chart
    from ..benchmark.report import to_json
    from ..package.atomic import write_atomically

    if json is not None:
        write_atomically(json, to_json(report).encode())
    if chart is not None:
        write_atomically(chart, draw_chart(report))
