"""Opens prepared files with their engines, each ready to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_tvm.benchmark.layers import bind_random
from bnn_tvm.benchmark.measure import Call
from bnn_tvm.runtime import Session, aligned_empty

from .cases import BF16, F32, IMAGE, MXNET, ONNXRUNTIME, OPENVINO, OURS, WHOLE, Entry
from .prepare import entry_path


@dataclass(frozen=True)
class Contender:
    """An opened model.

    Attributes
    ----------
    bind : callable
        Prepares calls that run it on one input, which it must get as the engine wants it.
    output : callable
        Runs it on an input and returns what it computed.
    shape : tuple of int
        Of its input.
    session : Session or None
        If it is a package.
    """

    bind: Callable[[np.ndarray], Call]
    output: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]
    session: Session | None = None


def open_entry(folder: Path, entry: Entry) -> Contender:
    """Open what `prepare` wrote for an entry."""
    return _OPENERS[entry.engine](entry_path(folder, entry), entry)


def _open_package(path: Path, entry: Entry) -> Contender:
    session = Session(path, entry.threads)
    shape = session.manifest.inputs[0].shape

    def bind(x: np.ndarray) -> Call:
        if entry.layer == WHOLE:
            aligned = aligned_empty(x.shape, str(x.dtype))
            aligned[...] = x
            return lambda: session.run(aligned)
        kernel = session.manifest.layers[entry.layer].kernel
        return bind_random(session, session.manifest.kernel(kernel))

    return Contender(bind, lambda x: np.asarray(session.run(x)), shape, session)


def _open_openvino(path: Path, entry: Entry) -> Contender:
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": entry.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        # Left to itself, it computes float layers in bfloat16 where the CPU can.
        "INFERENCE_PRECISION_HINT": BF16 if entry.precision == BF16 else F32,
    }
    model = openvino.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()

    def bind(x: np.ndarray) -> Call:
        request.set_input_tensor(openvino.Tensor(x))
        return request.infer

    def output(x: np.ndarray) -> np.ndarray:
        bind(x)()
        return request.get_output_tensor().data.copy()

    return Contender(bind, output, tuple(model.input(0).shape))


def _open_onnxruntime(path: Path, entry: Entry) -> Contender:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = entry.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (info,) = session.get_inputs()

    def bind(x: np.ndarray) -> Call:
        return lambda: session.run(None, {info.name: x})

    return Contender(bind, lambda x: session.run(None, {info.name: x})[0], tuple(info.shape))


def _open_mxnet(path: Path, _: Entry) -> Contender:
    from bnn_tvm.gluon.baseline import MXNetModel
    from bnn_tvm.importer.files import find_params

    model = MXNetModel(path, find_params(path))
    return Contender(lambda x: lambda: model(x), model, (1, *IMAGE))


_OPENERS = {
    OURS: _open_package,
    OPENVINO: _open_openvino,
    ONNXRUNTIME: _open_onnxruntime,
    MXNET: _open_mxnet,
}
