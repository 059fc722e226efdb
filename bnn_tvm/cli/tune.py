"""``bnn-tvm tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .compile import progress_bar
from .link import Link
from .options import (
    DebugOption,
    KeyOption,
    ParamsOption,
    RpcOption,
    ShapeOption,
    TargetOption,
    TimeoutOption,
    TrackerOption,
    WaitOption,
    parse_shapes,
)

if TYPE_CHECKING:
    from rich.table import Table

    from ..tuning.board import Board
    from ..tuning.jobs import Result, Status


def tune(
    model: Annotated[Path, typer.Argument(help="A *-symbol.json file.")],
    trials: Annotated[
        int, typer.Option("--trials", min=1, help="Schedules to measure, of all kernels together.")
    ],
    target: TargetOption = "host",
    params: ParamsOption = None,
    input_shape: ShapeOption = None,
    tune_log: Annotated[
        Path | None,
        typer.Option("--tune-log", help="Folder to write to; by default tune_logs/ID."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Add to the measurements in the folder.")
    ] = False,
    rpc: RpcOption = None,
    tracker: TrackerOption = None,
    key: KeyOption = None,
    wait: WaitOption = 60,
    timeout: TimeoutOption = 60,
    debug: DebugOption = False,
) -> None:
    """Measure schedules of a model's kernels, here or on a board, and keep the best of each."""
    from ..tuning.model import tune_model
    from .tables import make_console

    board = _find_board(Link(rpc, tracker, key, wait), timeout)
    with progress_bar() as bar:

        def show(status: Status, done: int, total: int) -> None:
            bar(_describe(status), done, total)

        results = tune_model(
            model,
            target=target,
            input_shape=parse_shapes(input_shape),
            params=params,
            trials=trials,
            tune_log=tune_log,
            resume=resume,
            board=board,
            progress=bar,
            show=show,
        )
    make_console().print(_results_table(results) if results else "no kernel has choices to tune")


def _find_board(link: Link, seconds: float) -> Board | None:
    if not link.is_given:
        return None
    from ..tuning.board import find_board

    return find_board(link.connect, seconds)


def _describe(status: Status) -> str:
    return (
        f"{status.task.label}: {status.seconds * 1e6:.1f} us, {status.limit / status.seconds:.0%} "
        f"of the limit after {status.measured} of {status.size} schedules"
    )


def _results_table(results: list[Result]) -> Table:
    """Lay out what was found for each kernel."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="best of the schedules that were measured", box=SIMPLE_HEAD)
    table.add_column("kernel", overflow="fold")
    for name in ("uses", "measured", "by hand us", "best us", "gain", "of limit"):
        table.add_column(name, justify="right")
    table.add_column("choices", overflow="fold")
    for result in results:
        table.add_row(*_result_row(result))
    return table


def _result_row(result: Result) -> tuple[str, ...]:
    status, best = result.status, result.best
    return (
        status.task.label,
        str(status.task.uses),
        f"{status.measured} of {status.size}",
        f"{best.seconds_by_hand * 1e6:.1f}",
        f"{best.seconds * 1e6:.1f}",
        f"{best.seconds_by_hand / best.seconds - 1:.1%}",
        f"{status.limit / best.seconds:.0%}",
        ", ".join(f"{name} {option}" for name, option in best.choices.items()),
    )
