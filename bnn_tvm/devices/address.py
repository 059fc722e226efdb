"""Addresses as the command line takes them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import InputError

# An IPv6 address stands in brackets, as in URLs.
_HOST_PORT = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Address:
    """A TCP endpoint.

    Attributes
    ----------
    host : str
        A name or an IP address.
    port : int
        0 to 65535; 0 lets the system choose one to listen on.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``HOST:PORT``.

        Raises
        ------
        InputError
            If the text has another form.
        """
        match = _HOST_PORT.fullmatch(text)
        if match is None or int(match["port"]) > 0xFFFF:
            raise InputError(f"address {text!r} must look like raspberrypi:9090 or [::1]:9090")
        return cls(match["six"] or match["host"], int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on the same machine can reach it."""
        return self.host in LOOPBACK

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"
