"""``bnn-tvm compile``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import TuneLogWarning
from .options import DebugOption, ParamsOption, ShapeOption, Shapes, TargetOption, parse_shapes

if TYPE_CHECKING:
    from ..package import CPackage, Package


class Format(StrEnum):
    """What a package holds."""

    library = "library"
    c = "c"


def compile_model(
    model: Annotated[Path, typer.Argument(help="A *-symbol.json file.")],
    output: Annotated[Path, typer.Option("--output", help="Package file to write.")],
    target: TargetOption = "host",
    params: ParamsOption = None,
    input_shape: ShapeOption = None,
    tune_log: Annotated[
        Path | None,
        typer.Option("--tune-log", help="Folder of a tuning log; by default the installed one."),
    ] = None,
    format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="A shared library for bnn_tvm's runtime, or a C library that needs none.",
        ),
    ] = Format.library,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write what was lowered, and why not, as JSON.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Compile an exported model to a package file."""
    from ..package.atomic import check_writable, write_atomically
    from ..package.summary import Summary
    from .tables import print_summary

    for path in (output, report):
        if path is not None:
            check_writable(path)
    shapes = parse_shapes(input_shape)
    with warnings_in_one_line():
        package = compile_with_progress(model, format, target, params, shapes, tune_log)
    summary = Summary.of(package)
    package.save(output)
    if report is not None:
        write_atomically(report, summary.to_json().encode())
    print_summary(summary)


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Print warnings about tuning logs as errors are printed, without where they come from."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", TuneLogWarning)
        warnings.showwarning = lambda message, *_: typer.echo(f"warning: {message}", err=True)
        yield


def compile_with_progress(
    model: Path,
    format: Format,
    target: str,
    params: Path | None,
    shapes: Shapes,
    tune_log: Path | None,
) -> Package | CPackage:
    """Compile, with a bar on standard error where that is a terminal."""
    from .. import compiler

    compile_to = compiler.compile_c if format is Format.c else compiler.compile
    with progress_bar() as show:
        return compile_to(
            model,
            target=target,
            input_shape=shapes,
            params=params,
            tune_log=tune_log,
            progress=show,
        )


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Give what shows the compiler's progress as a bar, where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("reading the model", total=None)

        def show(stage: str, index: int, total: int) -> None:
            bar.update(task, description=stage, completed=index, total=total)

        yield show
