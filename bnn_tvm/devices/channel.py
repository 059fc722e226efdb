"""The server's end of a session, which reads only as much as it allows."""

from __future__ import annotations

import socket
import struct

from ..errors import UploadRefusedError

_HEADER = struct.Struct("<Q")


class LimitedChannel:
    """Feeds TVM's server loop from a socket, packet by packet.

    Every packet of TVM's begins with its size; one above the limit ends the session before any
    memory is taken for it.

    Parameters
    ----------
    connection : socket
        Blocking.
    max_packet : int
        Bytes of the largest packet to take.
    """

    def __init__(self, connection: socket.socket, max_packet: int) -> None:
        self._connection = connection
        self._max_packet = max_packet
        self._header = b""
        self._left = 0

    def send(self, data: bytes) -> int:
        """Write all of `data`; return its size."""
        self._connection.sendall(data)
        return len(data)

    def receive(self, size: int) -> bytes:
        """Read up to `size` bytes; none at the end of the connection.

        Raises
        ------
        UploadRefusedError
            If a packet is larger than allowed.
        """
        if self._left:
            return self._receive_body(size)
        return self._receive_header(size)

    def _receive_body(self, size: int) -> bytes:
        data = self._connection.recv(min(size, self._left))
        self._left -= len(data)
        return data

    def _receive_header(self, size: int) -> bytes:
        data = self._connection.recv(min(size, _HEADER.size - len(self._header)))
        self._header += data
        if len(self._header) == _HEADER.size:
            (self._left,) = _HEADER.unpack(self._header)
            self._header = b""
            self._check_size()
        return data

    def _check_size(self) -> None:
        if self._left > self._max_packet:
            raise UploadRefusedError(
                f"a client wanted to send {self._left} bytes; at most {self._max_packet} are taken"
            )
