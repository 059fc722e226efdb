"""Tune the kernels of a model on this machine, or on a board."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compiler import Progress, Shape, prepare
from ..importer import Graph
from ..target import CudaTarget, Target, get_target
from .board import Board, measure_on_board
from .environment import describe_environment
from .jobs import Result, Show, open_folder, tune
from .measuring import Measure, measure_locally
from .on_gpu import measure_on_gpu
from .tasks import find_tasks


def tune_model(
    model: str | os.PathLike[str] | Graph | Any,
    *,
    target: str = "host",
    input_shape: Shape | Mapping[str, Shape] | None = None,
    params: str | os.PathLike[str] | None = None,
    trials: int = 500,
    tune_log: str | os.PathLike[str] | None = None,
    resume: bool = False,
    board: Board | None = None,
    progress: Progress | None = None,
    show: Show | None = None,
) -> list[Result]:
    """Measure schedules of a model's kernels and write the best of each to a tuning log.

    Parameters
    ----------
    model, target, input_shape, params, progress
        As of `bnn_tvm.compile`. The target must be one that the measuring machine can run.
    trials : int
        How many schedules to measure, of all kernels together. Most go to the kernels that take
        most of the network's time. Those in the folder from before count.
    tune_log : path, optional
        Folder to write to; ``tune_logs/<target>`` in the working directory by default.
    resume : bool
        Whether to add to what is in the folder.
    board : Board, optional
        Where to measure; on this machine if left out.
    show : callable, optional
        Called with a kernel's status, and how many trials of how many are done.

    Returns
    -------
    list of Result
        What was found for each kernel, in order of first use; none if no rule leaves anything open.

    Raises
    ------
    DeviceError
        If the measuring machine cannot run the target's code, or a board is lost or busy.
    ToolchainError
        If a linker, or a package that tuning needs, is missing.
    TuneLogError
        If the folder cannot be added to.
    ModelError, InputError, TargetError
        As `bnn_tvm.compile`.
    """
    tuned_for = get_target(target)
    measure = _prepare_to_measure(tuned_for, board)
    measured = board.facts.model_that_runs(tuned_for.info()) if board else ""
    now = describe_environment(tuned_for, measured)
    folder = Path(tune_log or Path("tune_logs") / tuned_for.id)
    with open_folder(folder, tuned_for, now, resume) as journal:
        prepared = prepare(
            model, target=target, input_shape=input_shape, params=params, progress=progress
        )
        tasks = find_tasks(prepared.lowered, prepared.manifest.kernels, tuned_for)
        return tune(tasks, tuned_for, folder, journal, trials, measure, show or _show_nothing)


def _prepare_to_measure(target: Target, board: Board | None) -> Measure:
    if board:
        return measure_on_board(target, board)
    return measure_on_gpu(target) if isinstance(target, CudaTarget) else measure_locally(target)


def _show_nothing(*status: object) -> None:
    """Leave progress unseen."""
