"""The command ``python -m benchmarks``: prepare, time, report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import DeviceError, InputError
from bnn_tvm.package.atomic import write_atomically

from .cases import Case, all_cases
from .command_line import FolderOption, RoundsOption, run
from .results import CaseResult, load_results, save_results

app = typer.Typer(
    name="benchmarks", help=__doc__, add_completion=False, pretty_exceptions_enable=False
)
_FOLDER = Path("build/benchmarks")
_RESULTS = "results.json"

OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", help="Cases whose name holds this text; may be repeated."),
]
CoreOption = Annotated[
    list[int] | None,
    typer.Option("--core", help="Cores to time on, as many as threads; the last ones if left out."),
]


@app.command("list")
def list_cases() -> None:
    """Name every case."""
    for case in all_cases():
        typer.echo(case.name)


@app.command()
def prepare(
    only: OnlyOption = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="One engine's files only, such as ours.")
    ] = None,
    folder: FolderOption = _FOLDER,
) -> None:
    """Build the files of the cases: packages, and the peers' models."""
    from .prepare import prepare as build

    entries = [entry for case in _select(only) for entry in case.entries]
    wanted = [entry for entry in entries if engine in (None, entry.engine)]
    if not wanted:
        engines = ", ".join(sorted({entry.engine for entry in entries}))
        raise InputError(f"no file is read by {engine!r}; these cases are of {engines or 'none'}")
    build(wanted, folder, typer.echo)


@app.command()
def time(
    only: OnlyOption = None,
    core: CoreOption = None,
    rounds: RoundsOption = 40,
    folder: FolderOption = _FOLDER,
) -> None:
    """Time prepared cases, each in a process of its own, and report."""
    results = folder / _RESULTS
    measured = {r.case.name: r for r in (load_results(results) if results.exists() else ())}
    for case in _select(only):
        typer.echo(f"timing {case.name}")
        measured[case.name] = _time_in_process(case, core, rounds, folder)
        save_results(tuple(measured.values()), results)
    report(folder)


@app.command()
def report(folder: FolderOption = _FOLDER) -> None:
    """Show what was measured, and write it as report.md and as charts, measuring nothing."""
    from .charts import draw_charts
    from .report import sheets

    results = {r.case.name: r for r in load_results(folder / _RESULTS)}
    found = sheets(results)
    console = Console()
    for sheet in found:
        console.print(sheet.to_rich())
    text = "\n".join(sheet.to_markdown() for sheet in found)
    write_atomically(folder / "report.md", text.encode())
    charts = draw_charts(results, folder)
    console.print(f"written: {folder / 'report.md'}", *charts)


@app.command("case", hidden=True)
def time_case(
    name: str, result: Path, core: CoreOption = None, rounds: int = 40, folder: Path = _FOLDER
) -> None:
    """Time one case in this process and write its result; `time` starts these."""
    (case,) = (case for case in all_cases() if case.name == name)
    os.sched_setaffinity(0, choose_cores(core or [], case.threads))
    from .timing import time_case as measure

    measured = measure(case, folder, Plan(rounds=rounds, sample_seconds=1e-2, lead_seconds=5e-2))
    save_results((measured,), result)


def _select(only: Sequence[str] | None) -> list[Case]:
    selected = [c for c in all_cases() if not only or any(text in c.name for text in only)]
    if not selected:
        raise InputError(f"no case is called {' or '.join(only or ())}; python -m benchmarks list")
    return [case for case in selected if _can_run(case)]


def _can_run(case: Case) -> bool:
    """Tell whether this machine has what a case needs, and say so if not."""
    device = LocalDevice.detect()
    needs = device.lacks(case.flags)
    if case.threads > device.cores:
        needs.append(f"{case.threads} cores")
    if needs:
        typer.echo(f"skipping {case.name}: it needs {', '.join(needs)}")
    return not needs


def choose_cores(wanted: Sequence[int], threads: int) -> set[int]:
    """Take the named cores, or the last ones that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = set(wanted[-threads:] or allowed[-threads:])
    if len(cores) < threads or not cores <= set(allowed):
        raise DeviceError(
            f"{threads} thread(s) need as many cores of {allowed}, not {sorted(cores)}; "
            "name them with --core"
        )
    return cores


def _time_in_process(
    case: Case, cores: Sequence[int] | None, rounds: int, folder: Path
) -> CaseResult:
    """Time a case in a new process, so that no engine meets the threads of another case."""
    result = folder / "case.json"
    options = [f"--core={core}" for core in cores or ()]
    command = [sys.executable, "-m", "benchmarks", "case", case.name, str(result), *options]
    command += [f"--rounds={rounds}", f"--folder={folder}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=False, process_group=0)
    if done.returncode:
        raise InputError(
            f"case {case.name!r} was not timed, as said above; "
            f"its files are made by: python -m benchmarks prepare --only {case.name!r}"
        )
    (measured,) = load_results(result)
    result.unlink()
    return measured


def main() -> int:
    """Run the command line; return its exit code."""
    return run(app)


if __name__ == "__main__":
    sys.exit(main())
