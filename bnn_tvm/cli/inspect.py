"""``bnn-tvm inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .compile import progress_bar
from .options import DebugOption, ParamsOption, ShapeOption, Shapes, TargetOption, parse_shapes

if TYPE_CHECKING:
    from ..package.summary import Summary


def inspect(
    path: Annotated[
        Path, typer.Argument(metavar="MODEL|PKG", help="A *-symbol.json file or a package file.")
    ],
    target: TargetOption = "host",
    params: ParamsOption = None,
    input_shape: ShapeOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw the graph to this .png file.")
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Show what was lowered, what was not and why; of a model, without generating its code."""
    from ..package.atomic import check_writable
    from .tables import print_summary

    if picture is not None:
        check_writable(picture)
    summary = _summarize(path, target, params, parse_shapes(input_shape))
    if picture is not None:
        _draw(summary, picture)
    if json:
        typer.echo(summary.to_json(), nl=False)
    else:
        print_summary(summary)


def _summarize(path: Path, target: str, params: Path | None, shapes: Shapes) -> Summary:
    from ..package import load_package
    from ..package.summary import Summary

    if path.suffix != ".json":
        return Summary.of(load_package(path))
    from ..compiler import describe

    with progress_bar() as show:
        manifest = describe(path, target=target, input_shape=shapes, params=params, progress=show)
    return Summary.of_manifest(manifest)


def _draw(summary: Summary, path: Path) -> None:
    from ..benchmark.graph_picture import draw_graph
    from ..package.atomic import write_atomically

    write_atomically(path, draw_graph(summary))
