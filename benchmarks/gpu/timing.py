"""Checks numbers on the card, then times ours, the peer and the card's limits in turn.

It needs PyTorch, and of this package the runtime only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnn_tvm import gpu
from bnn_tvm.benchmark.bench import compare_outputs
from bnn_tvm.benchmark.measure import Call, Plan, measure_in_turn
from bnn_tvm.errors import InputError, WrongNumbersError
from bnn_tvm.package import Package
from bnn_tvm.runtime import Session, aligned_empty, load_tvm_runtime, open_kernel

from ..kernel_times import kernel_times
from . import peers
from .peak import run_peak
from .results import COPY, PEAK, PEER, Card, Group
from .work import (
    LAYERS,
    MMA,
    PEAK_FILE,
    PRODUCT_SIZE,
    TARGET_FILE,
    THROUGHPUT,
    Work,
    draw_words,
)

_COPIED = 1 << 30
# Of the largest output: ours on a card and on a processor sum floats in another order.
_TOLERANCE = 1e-3


def time_work(work: Work, folder: Path, plan: Plan) -> Group:
    """Time one work that was prepared.

    Raises
    ------
    InputError
        If its files are missing.
    DeviceError
        If this machine has no GPU that runs them.
    WrongNumbersError
        If the card computes something else than it should, whatever computes it.
    """
    if not work.files(folder):
        raise InputError(f"{work.title} is not in {folder}; run python -m benchmarks.gpu prepare")
    target = (folder / TARGET_FILE).read_text()
    load_tvm_runtime()
    gpu.find_gpu().check_runs(target)
    import torch

    properties = torch.cuda.get_device_properties(0)
    code = (folder / PEAK_FILE).read_bytes()
    peak, operations = run_peak(code, properties.multi_processor_count)
    versions = {"torch": str(torch.__version__), "cuda": str(torch.version.cuda)}
    card = Card(str(properties.name), target, versions, operations, 2 * _COPIED)
    timer = Timer(folder, plan, card, {PEAK: peak, COPY: peers.copy(_COPIED)})
    return timer.time_network(work) if work.is_network else timer.time_kernel(work)


@dataclass(frozen=True)
class Timer:
    """Times works of a folder.

    Attributes
    ----------
    folder : Path
        Where `prepare` wrote.
    plan : Plan
    card : Card
    limits : mapping of str to callable
        What is timed beside each work: `PEAK` and `COPY`.
    """

    folder: Path
    plan: Plan
    card: Card
    limits: Mapping[str, Call]

    def time_kernel(self, work: Work) -> Group:
        """Time a product or a layer, once its first rows or images are what they should be."""
        stored = dict(np.load(work.operands(self.folder)))
        expected, shape = stored.pop("expected"), tuple(stored.pop("data"))
        output = aligned_empty(tuple(stored.pop("output")), str(expected.dtype))
        arrays = [*map(_aligned, (draw_words(shape), *stored.values())), output]
        calls: dict[str, Any] = {}
        wrong = []
        for label, path in work.files(self.folder).items():
            call: Any = open_kernel(path.read_bytes(), "main", arrays, self.card.target)
            call()
            if np.array_equal(gpu.download(call.tensors[-1])[: len(expected)], expected):
                calls[label] = call
            else:
                wrong.append(label)
        if not calls:
            raise WrongNumbersError(f"wrong numbers: {work.title}, by {'; '.join(wrong)}")
        block = LAYERS.get(work)
        if block is None:
            calls[PEER], macs = peers.int8_product(PRODUCT_SIZE), PRODUCT_SIZE**3
        else:
            calls[PEER], macs = peers.half_layer(block, work.batch), work.batch * block.macs
        nbytes = sum(array.nbytes for array in arrays)
        seconds = self._measure(calls)
        return Group(work.title, self.card, seconds, 2 * macs, nbytes, wrong=tuple(wrong))

    def time_network(self, work: Work) -> Group:
        """Time a network and each of its kernels, once its outputs are those of its self-test."""
        sessions = {name: _open(path) for name, path in work.files(self.folder).items()}
        shape = sessions[MMA].manifest.inputs[0].shape
        images = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        calls = {name: session.bind_run([images]) for name, session in sessions.items()}
        if work == THROUGHPUT:
            calls[PEER] = peers.half_resnet(work.batch)
        seconds = self._measure(calls)
        return Group(work.title, self.card, seconds, kernels=kernel_times(sessions[MMA], self.plan))

    def _measure(self, calls: Mapping[str, Call]) -> dict[str, tuple[float, ...]]:
        timings = measure_in_turn({**calls, **self.limits}, self.plan)
        return {label: timing.samples for label, timing in timings.items()}


def _aligned(array: np.ndarray) -> np.ndarray:
    copy = aligned_empty(array.shape, str(array.dtype))
    copy[...] = array
    return copy


def _open(path: Path) -> Session:
    """Open a package and check that it gives what was recorded where it was compiled.

    Raises
    ------
    WrongNumbersError
        If it does not.
    """
    package = Package.load(path)
    session, recording = Session(package), package.recording
    assert recording is not None
    given = session.run(*recording.inputs(package.manifest.inputs))
    outputs = given if isinstance(given, tuple) else (given,)
    difference, _ = compare_outputs(path.name, outputs, recording.outputs)
    largest = max(float(np.abs(output).max()) for output in recording.outputs)
    if math.isnan(difference) or difference > max(_TOLERANCE * largest, recording.tolerance):
        raise WrongNumbersError(
            f"wrong numbers: outputs of {path.name} differ by {difference:.3g} from its self-test"
        )
    return session
