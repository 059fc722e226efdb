"""Measure on a board over RPC: kernels are built here, and timed there as `bnn-tvm bench` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmark.measure import Plan
from ..benchmark.remote import RemoteBoard
from ..device import LocalDevice
from ..devices.connection import Connection
from ..errors import DeviceError, DeviceLostError, DeviceTimeoutError, PackageError
from ..package.manifest import TensorInfo
from ..target import Target
from .measuring import SAMPLE_MILLISECONDS, Measure, measure_with, require_packages

_SAMPLE = Plan(rounds=1, warm_up=1, sample_seconds=SAMPLE_MILLISECONDS / 1000)


@dataclass(frozen=True)
class Board:
    """Where to measure.

    Attributes
    ----------
    connect : callable
        Opens a session with it, and raises a `DeviceError` if it cannot.
    machine : LocalDevice
        What it says that it is.
    processor : str
        Its processor's name, with its family and model numbers.
    seconds : float
        Limit for each sample.
    """

    connect: Callable[[], Connection]
    machine: LocalDevice
    processor: str
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
        remote = RemoteBoard(connection, 1, seconds)
        return Board(connect, remote.machine, remote.processor, seconds)


def measure_on_board(target: Target, board: Board) -> Measure:
    """Prepare to measure on a board, on one thread.

    Raises
    ------
    WrongArchitectureError
        If the board cannot run code for the target.
    ToolchainError
        If there is no compiler to link with, or what tuning needs is not installed.
    """
    board.machine.check_runs(target.info(), "the board")
    require_packages()
    return measure_with(target, BoardRunner(board))


class BoardRunner:
    """Takes the place of a runner of MetaSchedule, one session for all libraries of a call.

    A board that is lost or busy ends the tuning with an error; a library that crashes or never
    ends costs its own session, and is the only one that fails.
    """

    def __init__(self, board: Board) -> None:
        self._board = board

    def run(self, inputs: Sequence[Any]) -> list[Sample]:
        """Take one sample of each library.

        Parameters
        ----------
        inputs : sequence of RunnerInput

        Raises
        ------
        DeviceError
            If the board is lost, busy or unreachable.
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
        """Time libraries until all are, or one of them ends the session."""
        remote = RemoteBoard(connection, 1, self._board.seconds)
        samples = []
        for item in inputs:
            try:
                samples.append(_time(remote, item))
            except (DeviceLostError, DeviceTimeoutError) as exc:
                return [*samples, Sample((), str(exc))]
            except (DeviceError, PackageError) as exc:
                samples.append(Sample((), str(exc)))
        return samples


def _time(remote: RemoteBoard, item: Any) -> Sample:
    library = Path(str(item.artifact_path)).read_bytes()
    arguments = [
        TensorInfo(f"argument{i}", tuple(map(int, info.shape)), str(info.dtype), "")
        for i, info in enumerate(item.args_info)
    ]
    return Sample(remote.time_library(library, "main", arguments, _SAMPLE).samples)
