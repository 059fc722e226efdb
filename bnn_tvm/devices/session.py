"""One client's session, in a process of its own that ends with it.

Whatever the client's code does (crash, fill the memory, never return), the server goes on.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm_ffi

from .channel import LimitedChannel
from .connection import BOARD_FUNCTION

Answer = Callable[[bytes], bytes]

# What a packet holds beside the upload itself.
_PACKET_OVERHEAD = 1 << 20
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class SessionLimits:
    """What one session may use.

    Attributes
    ----------
    upload_bytes : int
        Largest single upload, and largest file that a session may write.
    seconds : float
        Longest session.
    """

    upload_bytes: int
    seconds: float


def run_session(
    connection: socket.socket, folder: Path, limits: SessionLimits, answer: Answer
) -> None:
    """Serve one client until it leaves; called in the session's own process.

    Parameters
    ----------
    connection : socket
        After the handshake.
    folder : Path
        Where TVM's clients may put files.
    limits : SessionLimits
    answer : callable
        From a message of `bnn-tvm bench` to the answer.
    """
    _limit_process(limits)
    _register(folder, answer)
    connection.settimeout(None)
    channel = LimitedChannel(connection, limits.upload_bytes + _PACKET_OVERHEAD)
    tvm_ffi.get_global_func("rpc.ServerLoop")(channel.send, channel.receive)


def _limit_process(limits: SessionLimits) -> None:
    # The session must not outlive a server that is killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.upload_bytes, limits.upload_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _register(folder: Path, answer: Answer) -> None:
    """Offer our messages, and what TVM's own clients expect (tuning uses those)."""
    functions: dict[str, Any] = {
        BOARD_FUNCTION: answer,
        "tvm.rpc.server.workpath": lambda name: str(_inside(folder, name)),
        "tvm.rpc.server.load_module": lambda name: tvm_ffi.load_module(_inside(folder, name)),
    }
    for name, function in functions.items():
        tvm_ffi.register_global_func(name, function, override=True)


def _inside(folder: Path, name: str) -> Path:
    """Find a file of the session by its name alone, wherever the client wants it to be."""
    return folder / Path(name).name
