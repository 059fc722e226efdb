"""Measure on a board over RPC: kernels are built here, and timed there as `bnn-tvm bench` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..benchmark.board_facts import BoardFacts
from ..benchmark.measure import Plan
from ..benchmark.remote import RemoteBoard
from ..devices.connection import Connection
from ..errors import DeviceError, PackageError
from ..package.manifest import TargetInfo, TensorInfo
from ..target import CudaTarget, Target
from . import on_gpu
from .measuring import SAMPLE_MILLISECONDS, Measure, measure_with, require_packages

_SAMPLE = Plan(rounds=1, warm_up=1, sample_seconds=SAMPLE_MILLISECONDS / 1000)
# What finds the number of calls takes as long as the sample, which is enough for clocks to rise.
_GPU_SAMPLE = replace(_SAMPLE, sample_seconds=on_gpu.SAMPLE_MILLISECONDS / 1000, clock_seconds=0)


@dataclass(frozen=True)
class Board:
    """Where to measure.

    Attributes
    ----------
    connect : callable
        Opens a session with it, and raises a `DeviceError` if it cannot.
    facts : BoardFacts
        What it says that it is.
    seconds : float
        Limit for each sample.
    """

    connect: Callable[[], Connection]
    facts: BoardFacts
    seconds: float


@dataclass(frozen=True)
class Sample:
    """What MetaSchedule's runners give for one library, and where it is asked for it.

    Attributes
    ----------
    run_secs : tuple of float
        Seconds of one call; none if it failed.
    error_msg : str
        Why; else empty.
    """

    run_secs: tuple[float, ...]
    error_msg: str = ""

    def result(self) -> Sample:
        """Give the result, which is there already."""
        return self


def find_board(connect: Callable[[], Connection], seconds: float) -> Board:
    """Ask a board what it is.

    Raises
    ------
    DeviceError
        If it is not reached, or runs another server.
    """
    with connect() as connection:
        return Board(connect, RemoteBoard(connection, 1, seconds).facts, seconds)


def measure_on_board(target: Target, board: Board) -> Measure:
    """Prepare to measure on a board: on one thread, or on its first GPU.

    Raises
    ------
    DeviceError
        If the board cannot run code for the target.
    ToolchainError
        If there is no compiler to link with, no nvcc for a GPU, or what tuning needs is not
        installed.
    """
    board.facts.check_runs(target.info())
    require_packages()
    runner = BoardRunner(board, target.info())
    if isinstance(target, CudaTarget):
        return on_gpu.measure_with_nvcc(target, runner)
    return measure_with(target, runner)


class BoardRunner:
    """Takes the place of a runner of MetaSchedule, one session for all libraries of a call.

    A board that is lost or busy ends the tuning with an error; a library that fails, crashes or
    never ends costs its own session, and is the only one that fails.

    Parameters
    ----------
    board : Board
    target : TargetInfo
        What the libraries are for.
    """

    def __init__(self, board: Board, target: TargetInfo) -> None:
        self._board = board
        self._target = target
        self._plan = _GPU_SAMPLE if target.gpu else _SAMPLE

    def run(self, inputs: Sequence[Any]) -> list[Sample]:
        """Take one sample of each library.

        Parameters
        ----------
        inputs : sequence of RunnerInput

        Raises
        ------
        DeviceError
            If the board is lost, busy or unreachable, or another one answers.
        """
        samples: list[Sample] = []
        while len(samples) < len(inputs):
            with self._board.connect() as connection:
                samples += self._run_in_session(connection, inputs[len(samples) :])
            if samples[-1].error_msg:
                # A board that is gone is no fault of the schedule: then this raises.
                self._board.connect().close()
        return samples

    def _run_in_session(self, connection: Connection, inputs: Sequence[Any]) -> list[Sample]:
        """Time libraries until all are, or one fails: it may have ended the session.

        On a GPU every later call of a session fails, too, once one has read what it may not.
        """
        remote = RemoteBoard(connection, 1, self._board.seconds)
        self._check_same(remote.facts)
        samples = []
        for item in inputs:
            try:
                samples.append(self._time(remote, item))
            except (DeviceError, PackageError) as exc:
                return [*samples, Sample((), str(exc))]
        return samples

    def _time(self, remote: RemoteBoard, item: Any) -> Sample:
        library = Path(str(item.artifact_path)).read_bytes()
        arguments = [
            TensorInfo(f"argument{i}", tuple(map(int, info.shape)), str(info.dtype), "")
            for i, info in enumerate(item.args_info)
        ]
        timing = remote.time_library(library, "main", arguments, self._plan, self._target.gpu)
        return Sample(timing.samples)

    def _check_same(self, now: BoardFacts) -> None:
        """Refuse a board that the tuning log does not name: a tracker lends any of its key."""
        model, begun_on = (
            facts.model_that_runs(self._target) for facts in (now, self._board.facts)
        )
        if model != begun_on:
            raise DeviceError(
                f"{now.name} measures on {model}, and the tuning began on {begun_on}; give each "
                "kind of board its own --key, and go on with --resume"
            )
