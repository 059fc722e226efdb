"""What the commands of benchmarks share: options, and how an error ends them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bnn_tvm.errors import BnnTvmError

FolderOption = Annotated[Path, typer.Option("--folder", help="Where files are kept.")]
RoundsOption = Annotated[int, typer.Option("--rounds", min=1, help="Samples of each entry.")]

# The base of Typer's usage errors lives in a place that moves between releases.
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


def run(app: typer.Typer) -> int:
    """Run a command line; say what went wrong in one line, and return its exit code."""
    command = typer.main.get_command(app)
    try:
        return command.main(standalone_mode=False) or 0
    except (BnnTvmError, _USAGE_ERROR) as exc:
        print("error:", getattr(exc, "format_message", exc.__str__)(), file=sys.stderr)
        return getattr(exc, "exit_code", 2)
