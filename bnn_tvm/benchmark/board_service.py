"""Answers messages about packages on this machine: what `bnn-tvm device serve` lets clients do."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..device import processor_name
from ..devices.messages import Message, pack_message, unpack_message
from ..errors import BnnTvmError, DeviceError, UploadRefusedError
from ..package import Package
from ..package.fields import decode, encode
from ..package.manifest import TensorInfo
from .board import Board
from .environment import describe_environment
from .measure import Plan, Timing

Facts = Mapping[str, Any]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Reply:
    facts: dict[str, Any]
    arrays: Arrays | None = None


class BoardService:
    """Answers one client.

    Parameters
    ----------
    max_upload : int
        Bytes of the largest package that is taken.
    board : Board, optional
        This machine if left out.
    """

    def __init__(self, max_upload: int, board: Board | None = None) -> None:
        self._max_upload = max_upload
        self._board = board or Board()
        self._commands: dict[str, Callable[[Message], _Reply]] = {
            "describe": self._describe,
            "open": self._open,
            "run": self._run,
            "time_models": self._time_models,
            "time_kernels": self._time_kernels,
            "time_library": self._time_library,
            "condition": self._condition,
        }

    def answer(self, request: bytes) -> bytes:
        """Do what a message asks for.

        Returns
        -------
        bytes
            The answer, or the name and text of the error that the command raised.
        """
        try:
            message = unpack_message(request)
            reply = self._command(message)(message)
        except BnnTvmError as exc:
            return pack_message({"error": type(exc).__name__, "text": str(exc)})
        return pack_message(reply.facts, reply.arrays)

    def _command(self, message: Message) -> Callable[[Message], _Reply]:
        name = message.facts.get("command")
        if name not in self._commands:
            raise DeviceError(f"the board knows no command {name!r}; use the same bnn_tvm on both")
        return self._commands[name]

    def _describe(self, message: Message) -> _Reply:
        machine = self._board.machine
        return _Reply(
            {
                "machine": {**encode(machine), "flags": sorted(machine.flags)},
                "processor": processor_name(),
                "gpu": encode(self._board.find_gpu()),
                "environment": encode(describe_environment(machine, message.facts["threads"])),
                "max_upload": self._max_upload,
            }
        )

    def _open(self, message: Message) -> _Reply:
        facts = message.facts
        package = Package.from_bytes(self._upload(message))
        self._board.open(facts["label"], package, facts["threads"])
        return _Reply({})

    def _upload(self, message: Message) -> bytes:
        """Check that an upload is what was sent."""
        data = message.arrays["upload"].tobytes()
        if len(data) > self._max_upload:
            raise UploadRefusedError(
                f"upload refused: {len(data)} bytes, of at most {self._max_upload}"
            )
        if hashlib.sha256(data).hexdigest() != message.facts["sha256"]:
            raise UploadRefusedError(
                "upload refused: it is not what was sent; try again, and check the network"
            )
        return data

    def _run(self, message: Message) -> _Reply:
        outputs = self._board.run(message.facts["label"], unpack_list(message.arrays))
        return _Reply({}, pack_list(outputs))

    def _time_models(self, message: Message) -> _Reply:
        plan = Plan(**message.facts["plan"])
        return _timings(self._board.time_models(unpack_list(message.arrays), plan))

    def _time_kernels(self, message: Message) -> _Reply:
        plan = Plan(**message.facts["plan"])
        return _timings(self._board.time_kernels(message.facts["kernels"], plan))

    def _time_library(self, message: Message) -> _Reply:
        facts = message.facts
        arguments = [
            decode(TensorInfo, info, "an argument", DeviceError) for info in facts["arguments"]
        ]
        plan = Plan(**facts["plan"])
        timing = self._board.time_library(
            self._upload(message), facts["name"], arguments, plan, facts["architecture"]
        )
        return _timings({"": timing})

    def _condition(self, message: Message) -> _Reply:
        return _Reply(encode(self._board.condition()))


def _timings(timings: Mapping[str, Timing]) -> _Reply:
    return _Reply({"timings": {label: encode(timing) for label, timing in timings.items()}})


def pack_list(arrays: Any) -> Arrays:
    """Name arrays by their positions."""
    return {str(index): array for index, array in enumerate(arrays)}


def unpack_list(arrays: Arrays) -> list[np.ndarray]:
    """Undo `pack_list`."""
    return [arrays[str(index)] for index in range(len(arrays))]
