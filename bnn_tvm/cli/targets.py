"""``bnn-tvm targets``."""

from __future__ import annotations

import json as json_format
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DebugOption

if TYPE_CHECKING:
    from rich.table import Table

    from ..device import LocalDevice
    from ..target import CudaTarget, Target


def targets(
    name: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Show everything about one target.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """List the targets and which of them this machine can run."""
    from ..device import LocalDevice
    from ..package.fields import encode
    from ..target import get_target, list_targets
    from .tables import make_console

    found = [get_target(name)] if name else list_targets()
    if json:
        typer.echo(json_format.dumps([encode(target) for target in found], indent=1))
    elif name:
        make_console().print(_facts(found[0]))
    else:
        make_console().print(_overview(found, LocalDevice.detect()))


def _overview(found: list[Target], device: LocalDevice) -> Table:
    from rich.table import Table

    table = Table(title="targets, best first; 'host' is the first that this machine runs")
    for name in ("id", "runs here", "description"):
        table.add_column(name, overflow="fold")
    for target in found:
        table.add_row(target.id, _runs_on(target, device), target.description)
    return table


def _runs_on(target: Target, device: LocalDevice) -> str:
    from ..target import CudaTarget

    if isinstance(target, CudaTarget):
        return _runs_on_gpu(target)
    if target.architecture != device.architecture:
        return f"no: this is {device.architecture}"
    missing = device.lacks(target.cpu_flags)
    return f"no: lacks {', '.join(missing)}" if missing else "yes"


def _runs_on_gpu(target: CudaTarget) -> str:
    from ..errors import DeviceError, WrongArchitectureError
    from ..gpu import find_gpu
    from ..runtime import load_tvm_runtime

    load_tvm_runtime()
    try:
        find_gpu().check_runs(target.id)
    except WrongArchitectureError:
        return "no: the GPU is older"
    except DeviceError:
        return "no: no GPU that works"
    return "yes"


def _facts(target: Target) -> Table:
    from rich.table import Table

    from ..package.fields import encode

    table = Table(title=target.id, show_header=False)
    facts = encode(target)
    for key, value in (facts | facts.pop("gpu", {})).items():
        table.add_row(key, " ".join(value) if isinstance(value, list) else str(value))
    return table
