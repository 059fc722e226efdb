"""The RPC server on a board: lets one client in at a time, and survives what it does."""

from __future__ import annotations

import contextlib
import logging
import secrets
import select
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import DeviceError
from . import wire
from .address import Address
from .connection import DIRECT_KEY
from .membership import Membership
from .session import Answer, SessionLimits, run_session
from .supervised import Supervised

_log = logging.getLogger(__name__)

_MAX_WAITING = 8  # clients in the queue; more are told that the board is busy
_HANDSHAKE_SECONDS = 3.0
_TICK_SECONDS = 0.2


@dataclass(frozen=True)
class ServerSettings:
    """How to serve.

    Attributes
    ----------
    address : Address
        To listen on.
    tracker : Address or None
        The tracker to join; without one, clients come directly.
    key : str
        What clients ask the tracker for.
    limits : SessionLimits
    """

    address: Address
    tracker: Address | None
    key: str
    limits: SessionLimits


class BoardServer:
    """Serves clients one after the other until it is stopped.

    Parameters
    ----------
    settings : ServerSettings
    make_answer : callable
        Makes, in a session's process, what answers the messages of that session.

    Attributes
    ----------
    address : Address
        Where it listens, with the port that was chosen.

    Raises
    ------
    DeviceError
        If the address cannot be listened on.
    """

    def __init__(self, settings: ServerSettings, make_answer: Callable[[], Answer]) -> None:
        self._settings = settings
        self._make_answer = make_answer
        self._listener = _listen(settings.address)
        self.address = Address(settings.address.host, self._listener.getsockname()[1])
        self._session: Supervised | None = None
        self._waiting: deque[socket.socket] = deque()
        self._member = (
            Membership(settings.tracker, settings.key, self.address.port)
            if settings.tracker
            else None
        )

    def serve(self) -> None:
        """Serve until an exception, such as KeyboardInterrupt, ends it."""
        try:
            while True:
                self._step()
        finally:
            self._stop()

    def _step(self) -> None:
        """Do what there is to do, or wait a little."""
        if self._member:
            self._member.keep(free=self._session is None)
        ready, _, _ = select.select([self._listener], [], [], _TICK_SECONDS)
        if ready:
            self._enqueue()
        self._reap()
        while self._session is None and self._waiting:
            self._start(self._waiting.popleft())

    def _enqueue(self) -> None:
        connection, peer = self._listener.accept()
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(connection)
            return
        _log.warning("%s turned away: %d clients wait already", peer[0], _MAX_WAITING)
        with connection, contextlib.suppress(OSError):
            wire.send_number(connection, wire.BUSY)

    def _start(self, connection: socket.socket) -> None:
        """Let a client in, if it has the key, and fork its session."""
        wire.prepare(connection)
        connection.settimeout(_HANDSHAKE_SECONDS)
        try:
            options = _greet(connection, self._expected_key(), self._settings.key)
        except OSError as exc:
            _log.warning("a client was turned away: %s", exc)
            connection.close()
            return
        if self._member:
            self._member.use_key()
        limits = self._settings.limits
        seconds = min(limits.seconds, options.get("timeout", limits.seconds))
        self._session = Supervised(
            connection, seconds, lambda folder: self._serve(connection, folder)
        )

    def _serve(self, connection: socket.socket, folder: Path) -> None:
        """Do the session's work, in its own process, which keeps no other connection open."""
        if self._member:
            self._member.close()
        for other in (self._listener, *self._waiting):
            other.close()
        run_session(connection, folder, self._settings.limits, self._make_answer())

    def _expected_key(self) -> str | None:
        return self._member.match_key if self._member else DIRECT_KEY

    def _reap(self) -> None:
        if self._session and self._session.has_ended():
            self._session = None

    def _stop(self) -> None:
        if self._session:
            self._session.kill("the server was stopped")
        for connection in self._waiting:
            connection.close()
        if self._member:
            self._member.close()
        self._listener.close()


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=16)
    except OSError as exc:
        raise DeviceError(
            f"cannot listen on {address}: {exc.strerror}; choose another --host or --port"
        ) from exc


def _greet(connection: socket.socket, expected: str | None, name: str) -> dict[str, float]:
    """Answer a client's handshake; return its options.

    Raises
    ------
    OSError
        If it is no client of TVM's RPC, or has not the expected key.
    """
    if wire.receive_number(connection) != wire.RPC_MAGIC:
        raise wire.WireError("it does not speak TVM's RPC")
    key, *options = wire.receive_text(connection, wire.MAX_KEY_BYTES).split() or [""]
    if expected is None or not secrets.compare_digest(key, f"client:{expected}"):
        wire.send_number(connection, wire.MISMATCH)
        raise wire.WireError("it has not the key that it needs")
    wire.send_number(connection, wire.ACCEPTED)
    wire.send_text(connection, f"server:{name}")
    return dict(_parse_option(option) for option in options)


def _parse_option(text: str) -> tuple[str, float]:
    name, _, value = text.removeprefix("-").partition("=")
    try:
        return name, float(value)
    except ValueError as exc:
        raise wire.WireError(f"it has the unknown option {text!r}") from exc
