"""Options that several subcommands share, and how their values are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError


@dataclass
class Settings:
    """What one call of the command line was asked for, apart from its subcommand."""

    debug: bool = False


def _set_debug(context: typer.Context, wanted: bool) -> None:
    if wanted:
        context.ensure_object(Settings).debug = True


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", callback=_set_debug, is_eager=True, help="Show the traceback of an error."
    ),
]
TargetOption = Annotated[
    str, typer.Option("--target", metavar="ID", help="Target id, 'host', or a TOML file.")
]
ParamsOption = Annotated[
    Path | None,
    typer.Option("--params", help="Parameters; by default the file beside the model."),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="1,1,28,28",
        help="Input shape; NAME=SHAPE, once for each, if there are several inputs.",
    ),
]
TrackerOption = Annotated[
    str | None, typer.Option("--tracker", metavar="HOST:PORT", help="TVM's RPC tracker.")
]
KeyOption = Annotated[
    str | None, typer.Option("--key", help="The kind of board, as the tracker knows it.")
]
RpcOption = Annotated[
    str | None,
    typer.Option("--rpc", metavar="HOST:PORT", help="Run on the board that serves there."),
]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0, help="Seconds to wait for a busy board.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", min=1, help="Seconds that a board may take for one run.")
]
ReferenceOption = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        metavar="MODEL|PKG",
        help="The same model for this machine, if it cannot run a board's package.",
    ),
]
ToleranceOption = Annotated[
    float, typer.Option("--tolerance", min=0, help="Largest difference of a board's outputs.")
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, help="Threads that one run uses.")]

RunnerOption = Annotated[
    str | None,
    typer.Option(
        "--runner",
        metavar="COMMAND",
        help="Time a package through this command, such as 'ssh pi@board' or an emulator.",
    ),
]

_SHAPE = re.compile(r"(?:(?P<name>[^=]+)=)?(?P<extents>[1-9][0-9]*(?:,[1-9][0-9]*)*)")

Shapes = tuple[int, ...] | dict[str, tuple[int, ...]] | None


def parse_shapes(texts: list[str] | None) -> Shapes:
    """Read ``--input-shape`` values.

    Raises
    ------
    InputError
        If one is not ``1,1,28,28`` or ``name=1,1,28,28``, or two have no name.
    """
    if not texts:
        return None
    pairs = [_parse_shape(text) for text in texts]
    if len(pairs) == 1 and pairs[0][0] is None:
        return pairs[0][1]
    shapes = {name: shape for name, shape in pairs if name is not None}
    if len(shapes) != len(pairs):
        raise InputError("several input shapes need different names, as in data=1,1,28,28")
    return shapes


def _parse_shape(text: str) -> tuple[str | None, tuple[int, ...]]:
    match = _SHAPE.fullmatch(text.replace(" ", ""))
    if match is None:
        raise InputError(f"input shape {text!r} must look like 1,1,28,28 or data=1,1,28,28")
    return match["name"], tuple(int(extent) for extent in match["extents"].split(","))
