"""Run a board's server in this process: what it says, and how it stops."""

from __future__ import annotations

import getpass
import logging
import os
import signal
import sys
from collections.abc import Callable

from .server import BoardServer, ServerSettings
from .session import Answer


def serve_board(settings: ServerSettings, make_answer: Callable[[], Answer]) -> None:
    """Serve until the process is interrupted or told to end.

    Everything that sessions need is loaded first, so that each of them starts at once.

    Parameters
    ----------
    settings : ServerSettings
    make_answer : callable
        See `BoardServer`.

    Raises
    ------
    DeviceError
        If the address cannot be listened on.
    ToolchainError
        If TVM's runtime is not installed.
    """
    from ..runtime import load_tvm_runtime

    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", force=True
    )
    load_tvm_runtime()
    server = BoardServer(settings, make_answer)
    _announce(server, settings)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.serve()
    except KeyboardInterrupt:
        logging.getLogger(__name__).info("stopped")


def _announce(server: BoardServer, settings: ServerSettings) -> None:
    log = logging.getLogger(__name__)
    for line in describe_risk(server, settings):
        log.warning("%s", line)
    log.info("serving at %s", server.address)


def describe_risk(server: BoardServer, settings: ServerSettings) -> list[str]:
    """Say who can use this server, and how to reach it safely."""
    address, user = server.address, getpass.getuser()
    lines = [
        f"RPC has no authentication and no encryption: whoever reaches {address} runs programs "
        f"as {user} on this machine"
    ]
    if os.geteuid() == 0:
        lines.append("this is root: start the server as a user who may do little")
    if not address.is_loopback:
        lines.append(f"{address} is open to the network: allow it in a trusted one only")
        return lines
    tunnel = f"ssh -N -L {address.port}:127.0.0.1:{address.port}"
    if settings.tracker and settings.tracker.is_loopback:
        tunnel += f" -R {settings.tracker.port}:127.0.0.1:{settings.tracker.port}"
    lines.append(f"only this machine reaches it; from another: {tunnel} {user}@<this machine>")
    return lines
