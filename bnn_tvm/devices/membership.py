"""A board's place at a tracker."""

from __future__ import annotations

import logging
import secrets
import time

from ..errors import DeviceUnreachableError
from .address import Address
from .tracker import Tracker

_log = logging.getLogger(__name__)

_PERIOD = 2.0  # seconds between looks at the tracker, and between attempts to reach it
_ANSWER_SECONDS = 3.0
_UNUSED_SECONDS = 6.0  # after which a key that a client got and never used is replaced


class Membership:
    """Joins a tracker, offers the board when it is free, and joins again when that is lost.

    Parameters
    ----------
    tracker : Address
    key : str
        What clients ask the tracker for.
    port : int
        Where the board listens; the tracker adds the address that it sees.

    Attributes
    ----------
    match_key : str or None
        What the next client must give; None until the board is offered.
    """

    def __init__(self, tracker: Address, key: str, port: int) -> None:
        self.match_key: str | None = None
        self._address, self._key, self._port = tracker, key, port
        self._tracker: Tracker | None = None
        self._next_look = 0.0
        self._taken_since: float | None = None
        self._reported = False

    def keep(self, free: bool) -> None:
        """Do what is due; to be called often.

        Parameters
        ----------
        free : bool
            Whether the board could serve a client now.
        """
        offer_now = free and self._tracker is not None and self.match_key is None
        if time.monotonic() < self._next_look and not offer_now:
            return
        self._next_look = time.monotonic() + _PERIOD
        try:
            self._look(self._tracker or self._join(), free)
        except DeviceUnreachableError as exc:
            self.close()
            self._report(exc)

    def use_key(self) -> None:
        """Say that the client with the match key came: nobody else gets in with it."""
        self.match_key = self._taken_since = None

    def close(self) -> None:
        """Leave the tracker, which then lends the board no more."""
        if self._tracker:
            self._tracker.close()
        self._tracker = None
        self.use_key()

    def _join(self) -> Tracker:
        self._tracker = Tracker(self._address, _ANSWER_SECONDS)
        self._tracker.join(self._key, self._port)
        self._reported = False
        _log.info("joined the tracker at %s as %r", self._address, self._key)
        return self._tracker

    def _look(self, tracker: Tracker, free: bool) -> None:
        pending = tracker.pending_keys()
        if free and (self.match_key is None or self._went_unused(self.match_key in pending)):
            self.match_key = f"{self._key}:{secrets.token_hex(8)}"
            self._taken_since = None
            tracker.offer(self._key, self._port, self.match_key)

    def _went_unused(self, pending: bool) -> bool:
        """Whether a client got the match key some time ago and did not come with it."""
        now = time.monotonic()
        self._taken_since = None if pending else self._taken_since or now
        return self._taken_since is not None and now - self._taken_since > _UNUSED_SECONDS

    def _report(self, exc: DeviceUnreachableError) -> None:
        if not self._reported:
            _log.warning("%s; trying again every %g s", exc, _PERIOD)
        self._reported = True
