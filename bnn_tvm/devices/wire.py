"""What goes over the sockets before TVM's own RPC takes over: TVM's handshake and tracker frames.

The numbers and the form of the frames are TVM's, so that its own clients, servers and tracker
can be at the other end.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from typing import Any

from .address import Address

RPC_MAGIC = 0xFF271
TRACKER_MAGIC = 0x2F271

# How a server answers a client's key. TVM's client takes any unknown answer as a refusal.
ACCEPTED, MISMATCH, BUSY = RPC_MAGIC, RPC_MAGIC + 2, RPC_MAGIC + 3

MAX_KEY_BYTES = 1 << 10
MAX_FRAME_BYTES = 1 << 20

# Seconds after which a peer that does not answer probes counts as gone: 5 + 3 * 5.
_PROBE_IDLE, _PROBE_INTERVAL, _PROBES = 5, 5, 3
LOST_AFTER = _PROBE_IDLE + _PROBES * _PROBE_INTERVAL


class WireError(ConnectionError):
    """A peer sent what is not this protocol."""


def connect(address: Address, seconds: float) -> socket.socket:
    """Connect and prepare a socket; see `prepare`."""
    connection = socket.create_connection((address.host, address.port), timeout=seconds)
    prepare(connection)
    return connection


def prepare(connection: socket.socket) -> None:
    """Send small packets at once, and notice a peer that vanished without a word."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_IDLE),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_INTERVAL),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LOST_AFTER * 1000),
    ):
        # Emulators and other systems lack some of these; time limits do not rely on them.
        with contextlib.suppress(OSError):
            connection.setsockopt(level, option, value)


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes.

    Raises
    ------
    OSError
        If the connection ends or times out before.
    """
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise WireError("the connection was closed")
        parts += part
    return bytes(parts)


def send_number(connection: socket.socket, number: int) -> None:
    """Write one 32-bit number."""
    connection.sendall(struct.pack("<i", number))


def receive_number(connection: socket.socket) -> int:
    """Read one 32-bit number."""
    return struct.unpack("<i", receive_exactly(connection, 4))[0]


def send_text(connection: socket.socket, text: str) -> None:
    """Write a string behind its length."""
    data = text.encode()
    connection.sendall(struct.pack("<i", len(data)) + data)


def receive_text(connection: socket.socket, limit: int) -> str:
    """Read a string behind its length, of at most `limit` bytes.

    Raises
    ------
    OSError
        If it is longer, not UTF-8, or the connection ends.
    """
    size = receive_number(connection)
    if not 0 <= size <= limit:
        raise WireError(f"a text of {size} bytes, above {limit}, was announced")
    try:
        return receive_exactly(connection, size).decode()
    except UnicodeDecodeError as exc:
        raise WireError(f"a text that is not UTF-8 ({exc.reason}) was sent") from exc


def send_json(connection: socket.socket, value: Any) -> None:
    """Write a tracker's frame."""
    send_text(connection, json.dumps(value))


def receive_json(connection: socket.socket) -> Any:
    """Read a tracker's frame."""
    try:
        return json.loads(receive_text(connection, MAX_FRAME_BYTES))
    except ValueError as exc:
        raise WireError(f"a frame that is not JSON ({exc}) was sent") from exc
