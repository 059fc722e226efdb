"""``bnn-tvm compile``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, TuneLogWarning
from ..package.precision import BF16, FLOAT32, FP16, INT8, TF32
from .arrays import read_npy
from .options import DebugOption, ParamsOption, ShapeOption, TargetOption, parse_shapes

if TYPE_CHECKING:
    from ..package import CPackage, Package


class Format(StrEnum):
    """What a package holds."""

    library = "library"
    c = "c"


class FloatPrecision(StrEnum):
    """Values of ``--float-precision``."""

    FLOAT32 = FLOAT32
    BF16 = BF16
    FP16 = FP16
    TF32 = TF32
    INT8 = INT8


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
    float_precision: Annotated[
        FloatPrecision,
        typer.Option(
            "--float-precision",
            help="What layers that do not run on bits compute in; float32 is exact.",
        ),
    ] = FloatPrecision.FLOAT32,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            "--calibration",
            metavar="X.npy",
            help="Data to choose ranges on and to compare outputs on, once for each input.",
        ),
    ] = None,
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
        package = compile_with_progress(
            model,
            format,
            target=target,
            params=params,
            input_shape=shapes,
            tune_log=tune_log,
            **_lower_precision(format, float_precision, calibration or []),
        )
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


def _lower_precision(
    format: Format, precision: FloatPrecision, calibration: list[Path]
) -> dict[str, Any]:
    """Give the options of lower precision; C packages take none."""
    if format is Format.c:
        if calibration or precision is not FloatPrecision.FLOAT32:
            raise InputError(
                "C packages compute float layers in float32; leave --float-precision and "
                "--calibration out, or --format c"
            )
        return {}
    arrays = [read_npy(path) for path in calibration]
    return {"float_precision": precision.value, "calibration": arrays}


def compile_with_progress(model: Path, format: Format, **options: Any) -> Package | CPackage:
    """Compile as `bnn_tvm.compile` does, with a bar on standard error where that is a terminal."""
    from .. import compiler

    compile_to = compiler.compile_c if format is Format.c else compiler.compile
    with progress_bar() as show:
        return compile_to(model, **options, progress=show)


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
