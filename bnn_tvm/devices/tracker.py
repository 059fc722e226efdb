"""A client of TVM's RPC tracker, which lends boards out to one client at a time."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from ..errors import DeviceBusyError, DeviceError, DeviceUnreachableError
from . import wire
from .address import Address

# TVM's codes of requests and answers.
_SUCCESS, _PUT, _REQUEST, _UPDATE_INFO, _SUMMARY, _PENDING_KEYS = 0, 3, 4, 5, 6, 7
_PRIORITY = 1

# Seconds for any answer but that to a request, which waits for a board.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class BoardEntry:
    """A board as the tracker lists it.

    Attributes
    ----------
    key : str
        What clients ask for.
    address : Address
        Where they find it.
    """

    key: str
    address: Address


@dataclass(frozen=True)
class QueueEntry:
    """How many boards of a key there are.

    Attributes
    ----------
    key : str
    boards, free, waiting : int
        Boards that joined, those nobody uses, and clients that wait for one.
    """

    key: str
    boards: int
    free: int
    waiting: int


@dataclass(frozen=True)
class TrackerSummary:
    """What a tracker knows."""

    boards: tuple[BoardEntry, ...]
    queues: tuple[QueueEntry, ...]


class Tracker:
    """A connection to a tracker.

    Parameters
    ----------
    address : Address
    seconds : float
        For connecting, and for every answer but that to `request`.

    Raises
    ------
    DeviceUnreachableError
        If no tracker answers there; of every method as well.
    """

    def __init__(self, address: Address, seconds: float = ANSWER_SECONDS) -> None:
        self.address = address
        with self._named_errors():
            self._connection = wire.connect(address, seconds)
            with _closing_on_error(self._connection):
                wire.send_number(self._connection, wire.TRACKER_MAGIC)
                if wire.receive_number(self._connection) != wire.TRACKER_MAGIC:
                    raise wire.WireError("what answers is no tracker")

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; boards announced over it are forgotten by the tracker."""
        self._connection.close()

    def summary(self) -> TrackerSummary:
        """Ask which boards there are."""
        answer = self._ask([_SUMMARY])
        with self._named_errors():
            return _read_summary(answer[1])

    def request(self, key: str, seconds: float) -> tuple[Address, str]:
        """Borrow a board.

        Parameters
        ----------
        key : str
            The kind of board.
        seconds : float
            How long to wait for one.

        Returns
        -------
        address : Address
        match_key : str
            What the board lets only this client in with.

        Raises
        ------
        DeviceError
            If no board of that key has joined.
        DeviceBusyError
            If none becomes free in time.
        """
        self._check_known(key)
        self._connection.settimeout(seconds)
        with self._named_errors():
            wire.send_json(self._connection, [_REQUEST, key, "", _PRIORITY])
            try:
                _, (host, port, match_key) = wire.receive_json(self._connection)
            except TimeoutError as exc:
                raise DeviceBusyError(
                    f"device busy: no board {key!r} of the tracker at {self.address} became free "
                    f"within {seconds:g} s; wait longer with --wait, or see bnn-tvm device list"
                ) from exc
            return Address(host, port), match_key

    def _check_known(self, key: str) -> None:
        known = {board.key for board in self.summary().boards}
        if key not in known:
            raise DeviceError(
                f"no board {key!r} has joined the tracker at {self.address}; it has "
                f"{', '.join(sorted(known)) or 'none at all'} (start one with "
                f"bnn-tvm device serve --tracker {self.address} --key {key})"
            )

    def join(self, key: str, port: int) -> None:
        """Say that a board exists, at this end of the connection and a port."""
        info = {"key": f"server:{key}", "addr": [None, port]}
        self._ask([_UPDATE_INFO, info])

    def offer(self, key: str, port: int, match_key: str) -> None:
        """Say that a board is free for whoever gets `match_key`."""
        self._ask([_PUT, key, [port, match_key], None])

    def pending_keys(self) -> frozenset[str]:
        """Ask which of the match keys offered over this connection nobody has got yet."""
        return frozenset(self._ask([_PENDING_KEYS]))

    def _ask(self, question: list[Any]) -> Any:
        with self._named_errors():
            wire.send_json(self._connection, question)
            return wire.receive_json(self._connection)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise DeviceUnreachableError(
                f"tracker unreachable at {self.address}: {exc}; start one with "
                "python -m tvm.exec.rpc_tracker --host 127.0.0.1, or correct --tracker"
            ) from exc


@contextlib.contextmanager
def _closing_on_error(connection: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _read_summary(facts: dict[str, Any]) -> TrackerSummary:
    boards = [_read_board(entry) for entry in facts["server_info"]]
    queues = (
        QueueEntry(key, sum(board.key == key for board in boards), queue["free"], queue["pending"])
        for key, queue in sorted(facts["queue_info"].items())
    )
    return TrackerSummary(
        tuple(sorted(boards, key=lambda board: (board.key, str(board.address)))),
        tuple(queue for queue in queues if queue.boards or queue.waiting),
    )


def _read_board(entry: dict[str, Any]) -> BoardEntry:
    host, port = entry["addr"]
    return BoardEntry(entry["key"].removeprefix("server:"), Address(host, port))
