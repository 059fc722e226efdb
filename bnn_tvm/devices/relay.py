"""Stands between TVM's RPC client, which waits without end, and a board that may be gone.

TVM's client connects to the relay on this machine; the relay passes bytes on in both directions
and ends the connection when the board is lost or a call takes too long. TVM's client then fails
at once, and the relay knows why.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import threading
import time

from ..errors import DeviceError, DeviceLostError, DeviceTimeoutError
from . import wire

_CHUNK = 1 << 20
_LOOK_EVERY = 0.2  # seconds between looks at the deadline
_LOCAL_SECONDS = 10.0  # for TVM's client on this machine
_FAREWELL_SECONDS = 1.0
_SEND_SECONDS = float(wire.LOST_AFTER)


class Relay:
    """Passes bytes between a board and one client on this machine, in a thread of its own.

    Parameters
    ----------
    board : socket
        After the handshake; the relay closes it.
    name : str
        What to call the board in errors.

    Attributes
    ----------
    port : int
        Of 127.0.0.1, where the client must connect.
    key : str
        The key that it must give.
    failure : DeviceError or None
        Why the connection ended, if not because the client closed it.
    """

    def __init__(self, board: socket.socket, name: str) -> None:
        self.key = secrets.token_hex(16)
        self.failure: DeviceError | None = None
        self._board = board
        self._name = name
        self._limit: tuple[float, float, str] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._work, name="bnn_tvm relay", daemon=True)
        self._thread.start()

    def allow(self, seconds: float, action: str) -> None:
        """Give the call that follows so many seconds.

        Parameters
        ----------
        seconds : float
        action : str
            What is done meanwhile, for errors: ``loading the package``.
        """
        self._limit = (time.monotonic() + seconds, seconds, action)

    def disallow(self) -> None:
        """Say that the call has returned: nothing is waited for."""
        self._limit = None

    def explain(self) -> DeviceError | None:
        """Say why a call failed; a board that leaves politely says so before it is gone."""
        self._thread.join(_FAREWELL_SECONDS)
        return self.failure

    def close(self) -> None:
        """End the connection, and wait for the thread."""
        for end in (self._board, self._listener):
            # A thread that waits on a socket wakes up by shutdown, not by close.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _work(self) -> None:
        with self._board:
            try:
                with self._listener:
                    client = self._admit()
            except OSError as exc:
                self._fail(f"TVM's client did not connect to the relay: {exc}")
                return
            with client:
                self._pass_on(client)

    def _admit(self) -> socket.socket:
        """Let TVM's client in; answer its handshake in the board's place."""
        self._listener.settimeout(_LOCAL_SECONDS)
        client, _ = self._listener.accept()
        client.settimeout(_LOCAL_SECONDS)
        magic = wire.receive_number(client)
        key = wire.receive_text(client, wire.MAX_KEY_BYTES)
        if (magic, key) != (wire.RPC_MAGIC, f"client:{self.key}"):
            client.close()
            raise wire.WireError("another program connected to the relay")
        wire.send_number(client, wire.ACCEPTED)
        wire.send_text(client, "server:relay")
        return client

    def _pass_on(self, client: socket.socket) -> None:
        self._board.settimeout(_SEND_SECONDS)
        other = {client: self._board, self._board: client}
        try:
            while not self._is_late():
                ready, _, _ = select.select(list(other), [], [], _LOOK_EVERY)
                for end in ready:
                    data = end.recv(_CHUNK)
                    if not data:
                        self._end(end is client)
                        return
                    other[end].sendall(data)
        except OSError as exc:
            self._fail(str(exc))

    def _is_late(self) -> bool:
        limit = self._limit
        if limit is None or time.monotonic() < limit[0]:
            return False
        self.failure = DeviceTimeoutError(
            f"device time-out: {self._name} was not done with {limit[2]} within {limit[1]:g} s; "
            "allow more with --timeout, or start the board's server again"
        )
        return True

    def _end(self, by_client: bool) -> None:
        if not by_client:
            self._fail("it ended the connection")

    def _fail(self, reason: str) -> None:
        limit = self._limit
        action = f" while {limit[2]}" if limit else ""
        self.failure = DeviceLostError(
            f"device lost: {self._name}{action}: {reason}; see what bnn-tvm device serve says "
            "there, then try again"
        )
