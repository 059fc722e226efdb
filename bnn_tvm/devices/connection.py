"""A session with a board: TVM's RPC, with time limits and named errors."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Any

import tvm_ffi

from ..errors import (
    DeviceBusyError,
    DeviceError,
    DeviceTimeoutError,
    DeviceUnreachableError,
)
from ..runtime import load_tvm_runtime
from . import wire
from .address import Address
from .relay import Relay
from .tracker import Tracker

# The function of the board's server that answers messages.
BOARD_FUNCTION = "bnn_tvm.board"
DIRECT_KEY = "bnn_tvm"
# How a server says that the client's time is over.
SESSION_OVER = "RPCSessionTimeoutError"
_CONNECT_SECONDS = 10.0


class Connection:
    """An open session; the board belongs to it until it is closed.

    Parameters
    ----------
    board : socket
        After the handshake.
    name : str
        What to call the board in errors.
    seconds : float
        For starting the session on the board.

    Raises
    ------
    DeviceError
        If the server there is not ours.
    """

    def __init__(self, board: socket.socket, name: str, seconds: float) -> None:
        load_tvm_runtime()
        self.name = name
        self._session: Any = None
        self._relay = Relay(board, name)
        try:
            self._function = self._open(seconds)
        except BaseException:
            self.close()
            raise

    def _open(self, seconds: float) -> Any:
        connect = tvm_ffi.get_global_func("rpc.Connect")
        self._relay.allow(seconds, "starting a session")
        try:
            self._session = connect("127.0.0.1", self._relay.port, self._relay.key, False)
            return self._session.get_function(BOARD_FUNCTION)
        except AttributeError as exc:
            raise DeviceError(
                f"{self.name} runs another RPC server; start bnn-tvm device serve there"
            ) from exc
        except RuntimeError as exc:
            raise self._failure(exc) from exc
        finally:
            self._relay.disallow()

    def call(self, request: bytes, seconds: float, action: str) -> bytes:
        """Send a message and wait for the answer.

        Parameters
        ----------
        request : bytes
        seconds : float
            Limit for both and what the board does between them.
        action : str
            What the board does, for errors.

        Raises
        ------
        DeviceLostError, DeviceTimeoutError
        DeviceError
            If the server there failed.
        """
        self._relay.allow(seconds, action)
        try:
            return bytes(self._function(request))
        except RuntimeError as exc:
            raise self._failure(exc) from exc
        finally:
            self._relay.disallow()

    def _failure(self, exc: RuntimeError) -> DeviceError:
        if SESSION_OVER in str(exc):
            return DeviceTimeoutError(
                f"device time-out: {self.name} ended the session, which lasted too long; measure "
                "less at once, or start its server with a longer --session-seconds"
            )
        reason = str(exc).strip().splitlines()[-1]
        return self._relay.explain() or DeviceError(f"{self.name} failed: {reason}")

    def close(self) -> None:
        """Give the board back."""
        if self._session is not None:
            # Dropping the session would end it too, but would keep Python's relay from running.
            with contextlib.suppress(RuntimeError):
                self._session.get_function("CloseRPCConnection")()
        self._relay.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect_direct(address: Address, wait: float) -> Connection:
    """Open a session with the server at `address`.

    Parameters
    ----------
    address : Address
    wait : float
        Seconds to wait while another client uses the board.

    Raises
    ------
    DeviceUnreachableError, DeviceBusyError
    """
    board = _reach(address)
    try:
        _greet(board, address, DIRECT_KEY, wait)
    except BaseException:
        board.close()
        raise
    return Connection(board, f"the board at {address}", _CONNECT_SECONDS)


def connect_through(tracker: Address, key: str, wait: float) -> Connection:
    """Open a session with a board that a tracker lends.

    Parameters
    ----------
    tracker : Address
    key : str
    wait : float
        Seconds to wait for a free board.

    Raises
    ------
    DeviceUnreachableError, DeviceBusyError
    DeviceError
        If no board of that key has joined the tracker.
    """
    with Tracker(tracker) as lender:
        address, match_key = lender.request(key, wait)
    board = _reach(address)
    try:
        _greet(board, address, match_key, _CONNECT_SECONDS)
    except BaseException:
        board.close()
        raise
    return Connection(board, f"board {key!r} at {address}", _CONNECT_SECONDS)


def _reach(address: Address) -> socket.socket:
    try:
        return wire.connect(address, _CONNECT_SECONDS)
    except OSError as exc:
        raise DeviceUnreachableError(
            f"device unreachable at {address}: {exc}; start bnn-tvm device serve there, or an "
            f"ssh tunnel: ssh -L {address.port}:127.0.0.1:{address.port} USER@BOARD"
        ) from exc


def _greet(board: socket.socket, address: Address, key: str, wait: float) -> None:
    """Give the server our key and read its answer, which a busy server keeps us waiting for."""
    board.settimeout(wait)
    try:
        # A server that turns us away may have closed the connection; its answer is there to read.
        with contextlib.suppress(ConnectionError):
            wire.send_number(board, wire.RPC_MAGIC)
            wire.send_text(board, f"client:{key}")
        answer = wire.receive_number(board)
        if answer == wire.ACCEPTED:
            wire.receive_text(board, wire.MAX_KEY_BYTES)
    except TimeoutError as exc:
        raise DeviceBusyError(
            f"device busy: the board at {address} was used by others for {wait:g} s; "
            "wait longer with --wait"
        ) from exc
    except OSError as exc:
        raise DeviceUnreachableError(
            f"device unreachable at {address}: {exc}; does bnn-tvm device serve listen there?"
        ) from exc
    _check_answer(answer, address)


def _check_answer(answer: int, address: Address) -> None:
    if answer == wire.BUSY:
        raise DeviceBusyError(f"device busy: too many clients wait for the board at {address}")
    if answer == wire.MISMATCH:
        raise DeviceUnreachableError(
            f"device unreachable at {address}: it refuses our key; a board that joined a tracker "
            "is reached through it with --tracker and --key only"
        )
    if answer != wire.ACCEPTED:
        raise DeviceUnreachableError(
            f"device unreachable: what listens at {address} is no RPC server of TVM's"
        )
