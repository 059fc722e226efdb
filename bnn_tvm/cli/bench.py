"""``bnn-tvm bench``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DebugOption, ThreadsOption

if TYPE_CHECKING:
    from ..benchmark.bench import BenchReport


def bench(
    package: Annotated[Path, typer.Argument(help="A package file.")],
    baselines: Annotated[
        list[Path] | None,
        typer.Option(
            "--baseline", help="Another package, or a *-symbol.json for MXNet; may be repeated."
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where to run: local.")] = "local",
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
    """Check a package's numbers, then time it, in turn with its baselines."""
    from ..benchmark.bench import bench as measure
    from ..benchmark.measure import Plan
    from ..device import find_device
    from ..package.atomic import check_writable
    from .arrays import read_npy

    for path in (json, chart):
        if path is not None:
            check_writable(path)
    report = measure(
        package,
        baselines or [],
        find_device(device),
        threads=threads,
        per_layer=per_layer,
        inputs=[read_npy(path) for path in inputs] if inputs else None,
        plan=Plan(rounds=rounds),
    )
    _show(report)
    _write(report, json, chart)


def _show(report: BenchReport) -> None:
    from ..benchmark.report import kernel_table, model_table
    from .tables import make_console

    console = make_console()
    console.print(model_table(report))
    if report.kernels:
        console.print(kernel_table(report))


def _write(report: BenchReport, json: Path | None, chart: Path | None) -> None:
    from ..benchmark.chart import draw_chart
    from ..benchmark.report import to_json
    from ..package.atomic import write_atomically

    if json is not None:
        write_atomically(json, to_json(report).encode())
    if chart is not None:
        write_atomically(chart, draw_chart(report))
