"""Real servers and trackers on loopback, each in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bnn_tvm.devices.address import Address

COMMAND = (sys.executable, "-c", "from bnn_tvm.cli import main; raise SystemExit(main())")
PATIENCE = 30.0


class Process:
    """A command with its own process group, whose standard error is a file."""

    def __init__(self, log: Path, *command: object, **environment: str) -> None:
        self._log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def find(self, pattern: str) -> str:
        """Wait until the process has said `pattern`; return its first group, as said last."""
        eventually(lambda: re.search(pattern, self.log) or self.popen.poll() is not None)
        found = re.findall(pattern, self.log)
        assert found, self.log
        return found[-1]

    def kill(self) -> None:
        """Kill the process as a crash would; what it started lives on, if it can."""
        self.popen.kill()
        self.popen.wait()

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


def eventually(condition: Callable[[], object], seconds: float = PATIENCE) -> object:
    """Wait until a condition holds, and fail if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


class BoardProcess(Process):
    """`bnn-tvm device serve` on a free port; `command` is how the command line is started."""

    def __init__(
        self, folder: Path, *options: object, command: tuple[object, ...] = COMMAND
    ) -> None:
        self.folder = folder / "sessions"
        self.folder.mkdir(exist_ok=True)
        arguments = ("device", "serve", "--port", 0, *options)
        log = folder / f"board-{time.monotonic_ns()}.log"
        super().__init__(log, *command, *arguments, TMPDIR=str(self.folder))
        self.address = Address.parse(self.find(r"serving at (\S+)"))

    def sessions(self) -> int:
        """Count those that it has begun."""
        return len(re.findall(r"session \d+ for \S+\n", self.log))

    def session_pid(self) -> int:
        return int(self.find(r"session (\d+) for \S+\n"))


@contextlib.contextmanager
def tracker_process(folder: Path, port: int | None = None) -> Iterator[Address]:
    """TVM's own tracker."""
    address = Address("127.0.0.1", port or free_port())
    log = folder / f"tracker-{time.monotonic_ns()}.log"
    place = ("--host", address.host, "--port", address.port, "--port-end", address.port + 1)
    process = Process(log, sys.executable, "-m", "tvm.exec.rpc_tracker", *place)
    try:
        eventually(lambda: answers(address))
        yield address
    finally:
        process.close()


def answers(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
