"""A session's process, from its start to the last trace of it."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import tvm_ffi

from .connection import SESSION_OVER

_log = logging.getLogger(__name__)

# A session that waits for its client ends by itself when that leaves; one that computes does not.
_GRACE_SECONDS = 1.0


class Supervised:
    """A session's process: started, watched, ended in time and cleaned up after.

    Parameters
    ----------
    connection : socket
        The client's; closed when the session has ended.
    seconds : float
        How long the session may last.
    work : callable
        What the process does, given a folder that is removed afterwards.
    """

    def __init__(
        self, connection: socket.socket, seconds: float, work: Callable[[Path], None]
    ) -> None:
        self._connection = connection
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._gone_since: float | None = None
        self._hang_up = select.poll()
        self._hang_up.register(connection, select.POLLRDHUP)
        self._folder = tempfile.TemporaryDirectory(prefix="bnn_tvm-session-")
        self._peer = connection.getpeername()[0]
        self._pid = _fork(lambda: work(Path(self._folder.name)))
        _log.info("session %d for %s", self._pid, self._peer)

    def has_ended(self) -> bool:
        """Clean up if the process has ended; end it if its time is over or its client is gone."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._clean_up(_describe_end(status))
        elif time.monotonic() >= self._deadline:
            self._tell_the_client()
            self.kill(f"its {self._seconds:g} s are over")
        elif self._outlived_its_client():
            self.kill("the client is gone")
        else:
            return False
        return True

    def _outlived_its_client(self) -> bool:
        """Whether the process still works, some time after the client closed the connection."""
        if not self._hang_up.poll(0):
            return False
        self._gone_since = self._gone_since or time.monotonic()
        return time.monotonic() - self._gone_since > _GRACE_SECONDS

    def kill(self, reason: str) -> None:
        """End the process and all that it started, and clean up."""
        # Killed at its very start, it leads no group yet.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._clean_up(reason)

    def _tell_the_client(self) -> None:
        text = f"{SESSION_OVER}: a session may last {self._seconds:g} s"
        with contextlib.suppress(RuntimeError):
            tvm_ffi.get_global_func("rpc.ReturnException")(self._connection.fileno(), text)

    def _clean_up(self, reason: str) -> None:
        self._connection.close()
        self._folder.cleanup()
        _log.info("session %d for %s ended: %s", self._pid, self._peer, reason)


def _fork(work: Callable[[], None]) -> int:
    """Start a process; it runs `work` and nothing else, whatever happens."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def _describe_end(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "the client left"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
