"""Benchmarks on an NVIDIA GPU, beside cuBLAS and PyTorch, and the bars that they are held to."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.errors import (
    DeviceError,
    InputError,
    ToolchainError,
    WrongNumbersError,
)

from ..command_line import FolderOption, RoundsOption, run
from .results import load, results_file, save
from .work import ALL, Work

# A work that takes longer is given up, seconds.
_MOST_SECONDS = 120.0

app = typer.Typer(
    name="benchmarks.gpu", help=__doc__, add_completion=False, pretty_exceptions_enable=False
)
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", help="What has this text in its name; may be repeated."),
]
_FOLDER = Path("build/gpu-benchmarks")
_ROUNDS, _SAMPLE_SECONDS = 20, 10e-3


@app.command()
def prepare(
    target: Annotated[str, typer.Option("--target", help="A GPU's target.")] = "sm_90",
    only: OnlyOption = None,
    folder: FolderOption = _FOLDER,
) -> None:
    """Compile all that is timed; this needs nvcc and MXNet, but no GPU."""
    from bnn_tvm.target import CudaTarget, get_target

    from .prepare import prepare as make

    found = get_target(target)
    if not isinstance(found, CudaTarget) or found.gpu.b1_mma != "and":
        raise InputError(f"{target} is no GPU from sm_80 on; see bnn-tvm targets")
    make(_select(only), folder, found, typer.echo)


@app.command()
def time(
    only: OnlyOption = None, rounds: RoundsOption = _ROUNDS, folder: FolderOption = _FOLDER
) -> None:
    """Time what was prepared, each in a process of its own; this needs PyTorch and no compiler."""
    works = _select(only)
    if importlib.util.find_spec("torch") is None:
        raise ToolchainError("the peers need PyTorch for CUDA: pip install torch")
    failed = [work.title for work in works if not _time_in_process(work, rounds, folder)]
    if failed:
        raise DeviceError(f"not timed, as said above: {'; '.join(failed)}")


def _time_in_process(work: Work, rounds: int, folder: Path) -> bool:
    """Time one work where an error of the card ends nothing else; tell whether it was timed."""
    typer.echo(f"timing {work.title}")
    options = ["--rounds", str(rounds), "--folder", str(folder)]
    command = [sys.executable, "-m", "benchmarks.gpu", "case", work.title, *options]
    try:
        return subprocess.run(command, timeout=_MOST_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        typer.echo(f"error: it took more than {_MOST_SECONDS:.0f} s", err=True)
        return False


@app.command("case", hidden=True)
def time_case(title: str, rounds: RoundsOption = _ROUNDS, folder: FolderOption = _FOLDER) -> None:
    """Time one work in this process; `time` starts these."""
    from .timing import time_work

    (work,) = (work for work in ALL if work.title == title)
    group = time_work(work, folder, Plan(rounds=rounds, sample_seconds=_SAMPLE_SECONDS))
    path = results_file(folder, title)
    path.parent.mkdir(exist_ok=True)
    save(group, path)
    if group.wrong:
        raise WrongNumbersError(f"wrong numbers: {title}, by {'; '.join(group.wrong)}")


@app.command()
def report(folder: FolderOption = _FOLDER) -> None:
    """Show what was measured, and write it as report.md and as a chart, measuring nothing."""
    from .report import describe, sheets, write_report

    groups, console = load(folder, [work.title for work in ALL]), Console()
    console.print(describe(groups))
    for sheet in sheets(groups):
        console.print(sheet.to_rich())
    console.print("written:", *write_report(groups, folder))


def _select(only: list[str] | None) -> list[Work]:
    """Find the works whose titles hold one of some texts."""
    found = [work for work in ALL if any(text in work.title for text in only or [""])]
    if not found:
        raise InputError(f"nothing is called {only}; there are {'; '.join(w.title for w in ALL)}")
    return found


def main() -> int:
    """Run the command line; return its exit code."""
    return run(app)


if __name__ == "__main__":
    sys.exit(main())
