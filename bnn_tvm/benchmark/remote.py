"""A board at the other end of a connection, with the methods of `board.Board`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import errors
from ..device import LocalDevice
from ..devices.connection import Connection
from ..devices.messages import Message, pack_message, unpack_message
from ..errors import DeviceError, UploadRefusedError
from ..gpu import GpuInfo
from ..package import Package
from ..package.fields import encode
from ..package.manifest import TensorInfo
from .board_facts import BoardFacts
from .board_service import pack_list, unpack_list
from .condition import Condition
from .environment import Environment
from .measure import Plan, Timing

# Calls that a plan makes beside its rounds: to warm up, and to find the length of a sample.
_EXTRA_CALLS = 4
_SLACK = 3


class RemoteBoard:
    """Packages on a board.

    Parameters
    ----------
    connection : Connection
    threads : int
        Threads that each run on the board uses.
    seconds : float
        Limit for every upload, and for every run of a package.

    Attributes
    ----------
    facts : BoardFacts
    environment : Environment

    Raises
    ------
    DeviceError
        If the board's server is of another version; every method raises the errors of
        `Connection.call` and those that the same call raises on this machine.
    """

    def __init__(self, connection: Connection, threads: int, seconds: float) -> None:
        self._connection = connection
        self._threads = threads
        self._seconds = seconds
        self._run_seconds = 0.0
        said = self._ask("describe", "describing itself", threads=threads).facts
        try:
            self.facts = _read_facts(connection.name, said)
            self.environment = Environment(**said["environment"])
            self._max_upload = int(said["max_upload"])
        except (KeyError, TypeError) as exc:
            raise self._misunderstood() from exc

    def open(self, label: str, package: Package) -> None:
        """Upload a package, if the board can run it, and open it there."""
        self.facts.check_runs(package.manifest.target)
        data = package.to_bytes()
        if len(data) > self._max_upload:
            raise UploadRefusedError(
                f"upload refused: {label} has {len(data)} bytes and {self._connection.name} takes "
                f"{self._max_upload} at most; start its server with a larger --max-upload"
            )
        self._ask(
            "open",
            f"loading {label}",
            {"upload": np.frombuffer(data, np.uint8)},
            label=label,
            threads=self._threads,
            sha256=hashlib.sha256(data).hexdigest(),
        )

    def run(self, label: str, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run a package once."""
        start = time.monotonic()
        answer = self._ask("run", f"running {label}", pack_list(inputs), label=label)
        self._run_seconds += time.monotonic() - start
        return tuple(unpack_list(answer.arrays))

    def time_models(self, inputs: Sequence[np.ndarray], plan: Plan) -> dict[str, Timing]:
        """Time all packages in turn on the same inputs."""
        answer = self._ask(
            "time_models", "timing models", pack_list(inputs), self._limit(plan), plan=encode(plan)
        )
        return self._timings(answer)

    def time_kernels(self, kernels: Mapping[str, str], plan: Plan) -> dict[str, Timing]:
        """Time kernels in turn, each on its own random tensors."""
        names = ", ".join(dict.fromkeys(kernels.values()))
        answer = self._ask(
            "time_kernels",
            f"timing {names}",
            limit=self._limit(plan),
            kernels=dict(kernels),
            plan=encode(plan),
        )
        return self._timings(answer)

    def time_library(
        self,
        library: bytes,
        name: str,
        arguments: Sequence[TensorInfo],
        plan: Plan,
        architecture: str = "",
    ) -> Timing:
        """Upload a library that is no package's, and time a function of it.

        It runs on the GPU if the architecture of one is named.
        """
        answer = self._ask(
            "time_library",
            f"timing {name}",
            {"upload": np.frombuffer(library, np.uint8)},
            name=name,
            architecture=architecture,
            arguments=[encode(info) for info in arguments],
            plan=encode(plan),
            sha256=hashlib.sha256(library).hexdigest(),
        )
        return self._timings(answer)[""]

    def condition(self) -> Condition:
        """Look at temperature, clock and memory."""
        facts = self._ask("condition", "reading its sensors").facts
        try:
            return Condition(**facts)
        except TypeError as exc:
            raise self._misunderstood() from exc

    def _limit(self, plan: Plan) -> float:
        """Allow a plan as many runs as it makes, each as long as the runs before took."""
        calls = plan.rounds + plan.warm_up + _EXTRA_CALLS
        sample = max(plan.sample_seconds, self._run_seconds)
        return self._seconds + _SLACK * (plan.clock_seconds + calls * sample)

    def _timings(self, answer: Message) -> dict[str, Timing]:
        try:
            return {
                label: Timing(tuple(map(float, timing["samples"])), timing["inner"])
                for label, timing in answer.facts["timings"].items()
            }
        except (KeyError, TypeError, ValueError) as exc:
            raise self._misunderstood() from exc

    def _ask(
        self,
        command: str,
        action: str,
        arrays: dict[str, np.ndarray] | None = None,
        limit: float | None = None,
        **facts: Any,
    ) -> Message:
        request = pack_message({"command": command, **facts}, arrays)
        answer = unpack_message(self._connection.call(request, limit or self._seconds, action))
        if "error" in answer.facts:
            raise _named_error(answer.facts["error"], answer.facts["text"], self._connection.name)
        return answer

    def _misunderstood(self) -> DeviceError:
        return DeviceError(
            f"{self._connection.name} gives answers of another bnn_tvm; use the same on both"
        )


def _read_facts(name: str, said: Mapping[str, Any]) -> BoardFacts:
    machine = LocalDevice(**{**said["machine"], "flags": frozenset(said["machine"]["flags"])})
    return BoardFacts(name, machine, str(said["processor"]), GpuInfo(**said["gpu"]))


def _named_error(name: str, text: str, where: str) -> errors.BnnTvmError:
    """Make the error that a board named, of one of our own classes."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.BnnTvmError):
        return kind(f"{where} says: {text}")
    return DeviceError(f"{where} says: {name}: {text}")
