"""The memory of a GPU, with the processor in its place, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm_ffi
from cuda_graph_harness import compile_as_graph, graphs_here

import bnn_tvm
from bnn_tvm import gpu
from bnn_tvm.compiler import prepare
from bnn_tvm.errors import DeviceError, WrongArchitectureError
from bnn_tvm.runtime import Session, load_tvm_runtime

LENET = Path(__file__).parents[1] / "examples" / "models" / "lenet-1bit-symbol.json"
CPU = 1


@pytest.fixture
def processor_as_gpu(monkeypatch):
    load_tvm_runtime()
    monkeypatch.setattr(gpu, "CUDA", CPU)


@pytest.mark.parametrize("dtype", ["float32", "uint32", "int32", "bool"])
def test_arrays_come_back_as_they_went(processor_as_gpu, dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)
    (tensor,) = gpu.copy_to_gpu([array])
    assert gpu.holds(tensor)
    gpu.upload([array], [tensor])
    gpu.synchronize()
    back = gpu.download(tensor)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype and back.flags.owndata


def test_a_session_lends_the_same_memory_to_each_run(monkeypatch, tmp_path):
    """What records and replays takes the addresses of the first run."""
    shape, path = (2, 1, 28, 28), tmp_path / "model.so"
    package = bnn_tvm.compile(LENET, target="x86-64", input_shape=shape)
    inputs = [np.random.default_rng(s).standard_normal(shape).astype(np.float32) for s in range(3)]
    processor = Session(package)
    expected = [processor.run(x) for x in inputs]
    prepared = prepare(LENET, target="x86-64", input_shape=shape)
    compile_as_graph(prepared.scheduled, "x86-64").export_library(str(path))
    monkeypatch.setattr(gpu, "CUDA", CPU)
    monkeypatch.setattr("bnn_tvm.runtime._find_gpu", lambda architecture: True)
    with graphs_here() as graphs:
        session = Session(replace(package, library=path.read_bytes()))
        for x, y in zip(inputs, expected, strict=True):
            np.testing.assert_array_equal(session.run(x), y)
        session.bind_run(inputs[:1])()
    assert len(graphs.recorded) == 1


def test_tensors_of_the_processor_are_not_held_by_a_gpu():
    assert not gpu.holds(tvm_ffi.from_dlpack(np.zeros(2, np.float32)))


def pretend(monkeypatch, exists, version="8.6"):
    monkeypatch.setattr(gpu, "load_cuda_library", lambda: None)
    answers = {gpu._EXISTS: exists, gpu._COMPUTE_VERSION: version, gpu._NAME: "A10"}
    monkeypatch.setattr(
        tvm_ffi, "get_global_func", lambda name: lambda kind, index, attribute: answers[attribute]
    )


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_86"])
def test_a_gpu_runs_what_is_no_newer(monkeypatch, architecture):
    pretend(monkeypatch, True)
    assert gpu.find_gpu() == gpu.GpuInfo("A10", "8.6")
    gpu.find_gpu().check_runs(architecture)


def test_an_older_gpu_is_refused_with_a_target_that_it_runs(monkeypatch):
    pretend(monkeypatch, True)
    message = r"for sm_90 .*, and the A10 of the board has .* 8\.6; choose --target sm_86"
    with pytest.raises(WrongArchitectureError, match=message):
        gpu.find_gpu().check_runs("sm_90", "the board")


def test_architectures_are_compared_as_numbers():
    gpu.GpuInfo("a card", "10.0").check_runs("sm_90")


def test_a_driver_without_a_gpu_is_said(monkeypatch):
    pretend(monkeypatch, False)
    with pytest.raises(DeviceError, match="this machine has none that works: see what nvidia-smi"):
        gpu.find_gpu().check_runs("sm_80")


@pytest.mark.parametrize(
    ("library", "hint"),
    [
        ("libcudart.so.13", r"bnn_tvm\[cuda\]"),
        ("libtvm_runtime_cuda.so", r"bnn_tvm\[cuda\]"),
        ("libcuda.so.1", "NVIDIA's driver"),
    ],
)
def test_a_missing_library_is_named_with_what_to_install(monkeypatch, library, hint):
    def missing():
        raise OSError(f"{library}: cannot open shared object file")

    monkeypatch.setattr(gpu, "load_cuda_library", missing)
    with pytest.raises(DeviceError, match=f"{library}.*{hint}"):
        gpu.find_gpu().check_runs("sm_80")
