"""Opens prepared files with their engines, each ready to run on one fixed input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_tvm.benchmark.measure import Call
from bnn_tvm.runtime import Session

from .cases import OPENVINO, OURS, Entry
from .prepare import entry_path


@dataclass(frozen=True)
class Contender:
    """An opened model.

    Attributes
    ----------
    run : callable
        Runs it once on its input.
    output : callable
        Runs it once and returns what it computed.
    """

    run: Call
    output: Callable[[], np.ndarray]


def open_entry(folder: Path, entry: Entry, threads: int) -> Contender:
    """Open what `prepare` wrote for an entry."""
    return _OPENERS[entry.engine](entry_path(folder, entry), entry, threads)


def fixed_input(shape: tuple[int, ...]) -> np.ndarray:
    """Draw an input: the same numbers every time."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def _open_package(path: Path, entry: Entry, threads: int) -> Contender:
    session = Session(path, threads)
    x = fixed_input(session.manifest.inputs[0].shape)
    return Contender(lambda: session.run(x), lambda: np.asarray(session.run(x)))


def _open_openvino(path: Path, entry: Entry, threads: int) -> Contender:
    import openvino

    model = openvino.Core().compile_model(
        path,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": entry.precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        },
    )
    request = model.create_infer_request()
    x = fixed_input(tuple(model.input(0).shape))
    request.set_input_tensor(openvino.Tensor(x))

    def output() -> np.ndarray:
        request.infer()
        return request.get_output_tensor().data.copy()

    return Contender(request.infer, output)


_OPENERS = {OURS: _open_package, OPENVINO: _open_openvino}
