"""``bnn-tvm inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .compile import compile_with_progress
from .options import DebugOption, ParamsOption, ShapeOption, Shapes, TargetOption, parse_shapes

if TYPE_CHECKING:
    from ..package import Package


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="MODEL|PKG", help="A *-symbol.json file or a package file.")
    ],
    target: TargetOption = "host",
    params: ParamsOption = None,
    input_shape: ShapeOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """Show what was lowered, what was not and why; a model is compiled in memory for that."""
    from ..package.summary import Summary
    from .tables import print_summary

    summary = Summary.of(_open(path, target, params, parse_shapes(input_shape)))
    if json:
        typer.echo(summary.to_json(), nl=False)
    else:
        print_summary(summary)


def _open(path: Path, target: str, params: Path | None, shapes: Shapes) -> Package:
    from ..package import Package

    if path.suffix == ".json":
        return compile_with_progress(path, target, params, shapes)
    return Package.load(path)
