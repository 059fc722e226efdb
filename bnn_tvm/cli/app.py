"""The `bnn-tvm` command: its subcommands, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from .. import errors
from .bench import bench
from .compile import compile_model
from .device import device
from .inspect import inspect
from .options import DebugOption, Settings
from .run import run
from .targets import targets
from .tune import tune

INTERRUPTED = 130

# The base of Typer's usage errors lives in a place that moves between releases.
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]


def _exit_codes() -> str:
    """List the exit codes of the error tree, for the end of the help text."""
    tree: list[type[errors.BnnTvmError]] = [
        errors.InternalError,
        *errors.UserError.__subclasses__(),
    ]
    named = sorted((error.exit_code, error.__name__.removesuffix("Error")) for error in tree)
    codes = ", ".join(f"{code} {name.lower()}" for code, name in named)
    return f"Exit codes: 0 done, 2 usage, {codes}, {INTERRUPTED} interrupted."


app = typer.Typer(
    name="bnn-tvm",
    help="Compile binary neural networks to bit-packed kernels, run and measure them.",
    epilog=_exit_codes(),
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("compile")(compile_model)
app.command("run")(run)
app.command("inspect")(inspect)
app.command("bench")(bench)
app.command("tune")(tune)
app.command("targets")(targets)
app.add_typer(device)


def _show_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        typer.echo(f"bnn-tvm {importlib.metadata.version('bnn_tvm')}")
        raise typer.Exit()


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Compile binary neural networks to bit-packed kernels, run and measure them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        ``sys.argv[1:]`` if left out.

    Returns
    -------
    int
        The exit code; the help text lists them.
    """
    settings = Settings()
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, "bnn-tvm", standalone_mode=False, obj=settings)
    except Exception as exc:
        return _report(exc, settings.debug)
    return code or 0


def _report(exc: Exception, debug: bool) -> int:
    """Print an error in one line and choose the exit code."""
    if isinstance(exc, BrokenPipeError):
        # The reader has gone: leave nothing for Python to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.UserError.exit_code
    if debug:
        traceback.print_exception(exc)
    message, code = _describe(exc)
    print("error:", " ".join(message.split()), file=sys.stderr)
    return code


def _describe(exc: Exception) -> tuple[str, int]:
    if isinstance(exc, errors.BnnTvmError):
        return str(exc), exc.exit_code
    if isinstance(exc, _USAGE_ERROR):
        return f"{exc.format_message()} (bnn-tvm --help)", errors.UserError.exit_code
    reason = f"internal: {type(exc).__name__}: {exc}; run again with --debug and report it"
    return reason, errors.InternalError.exit_code
