"""What needs a GPU: numbers of kernels and of networks. docs/cuda.md says when it last ran.

`test_emulated_card.py` runs some of it where there is none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tvm
from cuda_harness import gpu_architecture, on_a_gpu
from cuda_kernels_harness import conv_kernel
from cuda_serial_harness import operands, run_serially

import bnn_tvm
from benchmarks.gpu.prepare import build_kernel, list_variants
from bnn_tvm.benchmark.bench import bench
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.device import LocalDevice
from bnn_tvm.runtime import Session, aligned_empty
from bnn_tvm.target import get_target
from bnn_tvm.tuning.model import tune_model

GPU = gpu_architecture()
pytestmark = on_a_gpu()

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
NETWORKS = ("resnet18_e1", "densenet28", "meliusnet22")


def pair(model, shape):
    """The same model compiled for the GPU and for the processor."""
    return (
        Session(bnn_tvm.compile(model, target=GPU, input_shape=shape)),
        Session(bnn_tvm.compile(model, target="host", input_shape=shape)),
    )


def images(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_lenet_gives_the_processors_numbers(batch):
    shape = (batch, 1, 28, 28)
    gpu, host = pair(LENET, shape)
    for seed in range(3):
        x = images(shape, seed)
        # The second run replays what the first one captured.
        for _ in range(2):
            np.testing.assert_allclose(gpu.run(x), host.run(x), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("batch", "size"), [(1, 32), (1, 64), (8, 64)])
def test_networks_give_the_processors_numbers(name, batch, size):
    mxnet = pytest.importorskip("mxnet")
    from bnn_tvm.zoo.catalogue import get_model

    mxnet.random.seed(0)
    network = get_model(name)
    network.initialize()
    shape = (batch, 3, size, size)
    gpu, host = pair(network, shape)
    # The second run replays what the first one captured.
    for seed in range(2):
        x = images(shape, seed)
        expected = host.run(x)
        atol = 1e-3 * np.abs(expected).max()
        np.testing.assert_allclose(gpu.run(x), expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("size", [7, 14])
def test_every_instruction_and_tile_counts_the_same(size):
    target = get_target(GPU)
    func = conv_kernel(2, size, 128, target)
    arrays = operands(func)
    (expected,) = run_serially(func, arrays)
    for _, schedule in list_variants(func, target):
        tensors = [tvm.runtime.tensor(array, tvm.cuda(0)) for array in [*arrays, 0 * expected]]
        build_kernel(schedule, target).jit()["main"](*tensors)
        np.testing.assert_array_equal(tensors[-1].numpy(), expected)


def test_a_kernel_alone_runs_on_copies_of_its_arguments():
    session = Session(bnn_tvm.compile(LENET, target=GPU, input_shape=(1, 1, 28, 28)))
    for kernel in session.manifest.kernels:
        arrays = [aligned_empty(info.shape, info.dtype) for info in kernel.arguments]
        for array in arrays:
            array.fill(0)
        session.bind_kernel(kernel.name, arrays)()


def test_the_self_test_of_a_package_passes():
    package = bnn_tvm.compile(LENET, target=GPU, input_shape=(2, 1, 28, 28))
    recording = package.recording
    outputs = Session(package).run(*recording.inputs(package.manifest.inputs))
    arrays = outputs if isinstance(outputs, tuple) else (outputs,)
    for given, expected in zip(arrays, recording.outputs, strict=True):
        np.testing.assert_allclose(given, expected, atol=package.manifest.self_test_tolerance)


def test_bench_times_models_and_kernels_by_events(tmp_path):
    path = tmp_path / "net.bnn"
    bnn_tvm.compile(LENET, target=GPU, input_shape=(1, 1, 28, 28)).save(path)
    report = bench(path, [], LocalDevice.detect(), per_layer=True, plan=Plan(rounds=3))
    assert report.environment.gpu and "events" in report.model_timing
    times = [report.models[0].seconds, *(kernel.seconds for kernel in report.kernels)]
    assert all(seconds.median > 0 for seconds in times)


def test_tuning_measures_schedules_on_the_card(tmp_path):
    results = tune_model(
        LENET, target=GPU, input_shape=(1, 1, 28, 28), trials=8, tune_log=tmp_path / "log"
    )
    assert sum(result.status.measured for result in results) == 8
    assert all(0 < result.best.seconds <= result.best.seconds_by_hand for result in results)


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_layers_in_lower_precision_give_the_processors_numbers(precision):
    if precision == "tf32" and GPU == "sm_75":
        pytest.skip("sm_75 has no tf32")
    package = bnn_tvm.compile(
        LENET, target=GPU, input_shape=(2, 1, 28, 28), float_precision=precision
    )
    recording = package.recording
    given = Session(package).run(*recording.inputs(package.manifest.inputs))
    np.testing.assert_allclose(given, recording.outputs[0], rtol=1e-3, atol=0.05)
