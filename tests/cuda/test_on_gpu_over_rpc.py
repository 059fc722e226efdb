"""What needs a GPU behind a server: benchmarks, tuning and failing kernels over loopback.

docs/cuda.md says when it last ran.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda_harness import gpu_architecture, on_a_gpu
from device_harness import BoardProcess
from tvm import te
from tvm.s_tir import Schedule

import bnn_tvm
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.benchmark.remote import RemoteBoard
from bnn_tvm.benchmark.remote_bench import bench_remote
from bnn_tvm.devices.connection import connect_direct
from bnn_tvm.gpu import find_gpu
from bnn_tvm.target import get_target
from bnn_tvm.tuning.board import find_board, measure_on_board
from bnn_tvm.tuning.limits import measure_peak
from bnn_tvm.tuning.model import tune_model
from bnn_tvm.tuning.records import find_log

GPU = gpu_architecture()
pytestmark = on_a_gpu()

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
SHAPE = (1, 1, 28, 28)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process = BoardProcess(tmp_path_factory.mktemp("server"))
    yield process
    process.close()


@pytest.fixture(scope="module")
def board(server):
    return find_board(lambda: connect_direct(server.address, 10), 60)


def shift(step: int) -> Schedule:
    """A kernel that reads so far apart that it must fail, if the step is long enough."""
    x = te.placeholder((64,), "int32", "x")
    schedule = Schedule(te.create_prim_func([x, te.compute((64,), lambda i: x[i * step], "y")]))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    for part, axis in zip(
        schedule.split(loop, [2, 32]), ("blockIdx.x", "threadIdx.x"), strict=True
    ):
        schedule.bind(part, axis)
    return schedule


def test_the_server_names_the_card(board):
    assert board.facts.gpu == find_gpu() and board.facts.gpu.name


def test_bench_times_models_and_kernels_by_events(server):
    package = bnn_tvm.compile(LENET, target=GPU, input_shape=SHAPE)
    with connect_direct(server.address, 10) as connection:
        report = bench_remote(
            {"net": package}, RemoteBoard(connection, 1, 60), per_layer=True, plan=Plan(rounds=3)
        )
    assert report.environment.gpu == find_gpu().name and "events" in report.kernel_timing
    times = [report.models[0].seconds, *(kernel.seconds for kernel in report.kernels)]
    assert all(0 < seconds.median < 1e-2 for seconds in times)


def test_a_kernel_that_reads_what_it_may_not_fails_alone(board):
    good, bad, other = measure_on_board(get_target(GPU), board)(
        [shift(0), shift(1 << 24), shift(1)], 2
    )
    assert bad.error and bad.seconds == ()
    for outcome in (good, other):
        assert not outcome.error and all(0 < time < 1e-3 for time in outcome.seconds)


def test_the_limits_of_the_card_are_plausible(board):
    target = get_target(GPU)
    measure = measure_on_board(target, board)
    bits, floats = (measure_peak(target, binary, measure) for binary in (True, False))
    assert 1e12 < floats < bits < 1e17


def test_tuning_measures_schedules_on_the_card(board, tmp_path):
    results = tune_model(
        LENET, target=GPU, input_shape=SHAPE, trials=8, tune_log=tmp_path / "log", board=board
    )
    assert sum(result.status.measured for result in results) == 8
    assert all(0 < result.best.seconds <= result.best.seconds_by_hand for result in results)
    assert find_log(get_target(GPU), tmp_path / "log").environment.machine == find_gpu().name
