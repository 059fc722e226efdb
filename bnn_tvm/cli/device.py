"""``bnn-tvm device``: boards that others measure on over RPC."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DebugOption, KeyOption, TrackerOption

if TYPE_CHECKING:
    from rich.table import Table

    from ..devices.tracker import TrackerSummary

device = typer.Typer(
    name="device",
    help="Lend this machine out as a board, list boards, emulate one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ArchitectureOption = Annotated[str, typer.Option("--architecture", help="aarch64 or x86_64.")]

_MIB = 1 << 20


@device.command("serve")
def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; others than loopback are open.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 9090,
    tracker: TrackerOption = None,
    key: KeyOption = None,
    max_upload: Annotated[
        int, typer.Option("--max-upload", min=1, metavar="MIB", help="Largest package to take.")
    ] = 256,
    session_seconds: Annotated[
        float, typer.Option("--session-seconds", min=1, help="Longest session of one client.")
    ] = 600,
    debug: DebugOption = False,
) -> None:
    """Serve this machine to `bnn-tvm bench`, `tune` and TVM's clients, one at a time, over RPC.

    RPC has no authentication: whoever reaches the port runs programs as you.
    """
    from ..benchmark.board_service import BoardService
    from ..devices.address import Address
    from ..devices.serve import serve_board
    from ..devices.server import ServerSettings
    from ..devices.session import SessionLimits

    settings = ServerSettings(
        address=Address(host, port),
        tracker=Address.parse(tracker) if tracker else None,
        key=key or "board",
        limits=SessionLimits(max_upload * _MIB, session_seconds),
    )
    serve_board(settings, lambda: BoardService(settings.limits.upload_bytes).answer)


@device.command(
    "emulate", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def emulate(
    context: typer.Context,
    architecture: Annotated[str, typer.Argument(metavar="aarch64", help="What to emulate.")],
    debug: DebugOption = False,
) -> None:
    """Serve an emulated board, with the options of `bnn-tvm device serve`.

    Needs Debian 12's apt and qemu-user; downloads a Python for ARM the first time. Numbers are
    those of a real board, times are not.
    """
    import os

    from ..devices.emulator import emulator_command

    command = emulator_command(architecture, ["device", "serve", *context.args])
    os.execv(command[0], command)


@device.command("bundle")
def bundle(
    output: Annotated[Path, typer.Option("--output", help="The .tar.gz file to write.")],
    architecture: ArchitectureOption = "aarch64",
    debug: DebugOption = False,
) -> None:
    """Pack all that a board needs beside Python 3.11 to run, serve and time packages."""
    from ..devices.runtime_bundle import collect_files, measure_parts, pack_files
    from ..package.atomic import check_writable, write_atomically
    from .tables import format_bytes

    check_writable(output)
    files = collect_files(architecture)
    archive = pack_files(files)
    write_atomically(output, archive)
    _print_sizes(measure_parts(files), f"unpacked, {format_bytes(len(archive))} as {output}")


@device.command("runner")
def runner(
    output: Annotated[Path, typer.Option("--output", help="The folder to write to.")],
    architecture: ArchitectureOption = "aarch64",
    debug: DebugOption = False,
) -> None:
    """Write what CMake builds bnn_run from, which runs and times packages without Python."""
    from ..devices.native_runner import PROGRAM_FOLDER, collect_sources
    from ..package.atomic import write_folder

    files = collect_sources(architecture)
    write_folder(output, files)
    kept = {name: len(data) for name, data in files.items() if name.startswith(PROGRAM_FOLDER)}
    _print_sizes(kept, f"in {output}, and bnn_run when it is built")


def _print_sizes(parts: dict[str, int], where: str) -> None:
    from .tables import format_bytes, make_console

    console = make_console()
    for part, size in parts.items():
        console.print(f"{format_bytes(size):>10}  {part}")
    console.print(f"{format_bytes(sum(parts.values())):>10}  {where}")


@device.command("list")
def list_boards(
    tracker: Annotated[
        str, typer.Option("--tracker", metavar="HOST:PORT", help="The tracker to ask.")
    ] = "127.0.0.1:9190",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """List the boards that joined a tracker, and how many of them are free."""
    from ..devices.address import Address
    from ..devices.tracker import Tracker
    from ..package.fields import encode
    from .tables import make_console

    with Tracker(Address.parse(tracker)) as lender:
        summary = lender.summary()
    if json:
        typer.echo(json_format.dumps(encode(summary), indent=1))
    else:
        make_console().print(_table(summary, tracker))


def _table(summary: TrackerSummary, tracker: str) -> Table:
    from rich.table import Table

    table = Table(title=f"boards of the tracker at {tracker}")
    for name in ("key", "boards", "free", "clients waiting", "addresses"):
        table.add_column(name, overflow="fold")
    for queue in summary.queues:
        places = [str(board.address) for board in summary.boards if board.key == queue.key]
        counts = (queue.boards, queue.free, queue.waiting)
        table.add_row(queue.key, *map(str, counts), ", ".join(places))
    return table
