"""How a command reaches a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..devices.connection import Connection


@dataclass(frozen=True)
class Link:
    """What ``--rpc``, ``--tracker``, ``--key`` and ``--wait`` say.

    Raises
    ------
    UserError
        If they do not go together.
    """

    rpc: str | None
    tracker: str | None
    key: str | None
    wait: float

    def __post_init__(self) -> None:
        if self.rpc and self.tracker:
            raise UserError("give --rpc or --tracker, not both (bnn-tvm --help)")
        if (self.tracker is None) != (self.key is None):
            raise UserError("--tracker and --key go together (bnn-tvm device list shows keys)")

    @property
    def is_given(self) -> bool:
        """Whether a board is meant, not this machine."""
        return self.rpc is not None or self.tracker is not None

    def connect(self) -> Connection:
        """Open a session with the board; see `connect_direct` and `connect_through`."""
        from ..devices.address import Address
        from ..devices.connection import connect_direct, connect_through

        if self.rpc is not None:
            return connect_direct(Address.parse(self.rpc), self.wait)
        return connect_through(Address.parse(self.tracker or ""), self.key or "", self.wait)
