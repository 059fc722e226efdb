"""Timing on GPUs, without one: by a device's own clock, and errors where there is no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cuda_harness import gpu_architecture, needs_nvcc

import bnn_tvm
from bnn_tvm import gpu
from bnn_tvm.benchmark.bench import BenchReport
from bnn_tvm.benchmark.environment import Environment
from bnn_tvm.benchmark.measure import Plan, measure_in_turn
from bnn_tvm.benchmark.report import model_table
from bnn_tvm.cli import main
from bnn_tvm.runtime import Session, load_tvm_runtime

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
CPU = 1


class DeviceCall:
    """Takes 2 ms by its own clock, and no time by another."""

    def __init__(self) -> None:
        self.timed: list[int] = []
        self.runs = 0

    def __call__(self) -> None:
        self.runs += 1

    def seconds(self, calls: int) -> float:
        self.timed.append(calls)
        return 2e-3 * calls


def test_a_device_is_timed_by_its_own_clock_once_that_is_up():
    device, plan = DeviceCall(), Plan(rounds=4, warm_up=2, sample_seconds=5e-3)
    timing = measure_in_turn({"device": device}, plan, clock=lambda: 0.0)["device"]
    assert timing.samples == pytest.approx((2e-3,) * 4) and timing.inner == 4
    warming = device.timed[: -4 - 3]
    assert sum(warming) * 2e-3 >= 0.5 and device.runs == plan.warm_up


def test_samples_that_raise_the_clock_themselves_need_no_work_before():
    device = DeviceCall()
    plan = Plan(rounds=1, warm_up=1, sample_seconds=5e-3, clock_seconds=0)
    measure_in_turn({"device": device}, plan, clock=lambda: 0.0)
    assert device.timed == [1, 2, 4, 4]


def test_calls_are_counted_and_measured_by_the_runtimes_timer():
    load_tvm_runtime()
    seen = []
    seconds = gpu.measure_calls(lambda *args: seen.append(args), [3, 4], 5, device_type=CPU)
    assert seen == [(3, 4)] * 6 and 0 < seconds < 1


def test_a_run_is_bound_to_its_inputs():
    package = bnn_tvm.compile(LENET, target="x86-64", input_shape=(1, 1, 28, 28))
    session, x = Session(package), np.ones((1, 1, 28, 28), np.float32)
    np.testing.assert_array_equal(session.bind_run([x])(), session.run(x))
    assert not session.on_gpu


def test_the_table_names_the_gpu_and_how_it_was_timed():
    facts = Environment("a processor", "x86_64", 4, 1, "Linux", {}, "a card")
    report = BenchReport("net", "sm_90", facts, (), (), model_timing="by events")
    caption = str(model_table(report).caption)
    assert caption.startswith("a card; a processor") and caption.endswith("by events")


@needs_nvcc
@pytest.mark.skipif(bool(gpu_architecture()), reason="this machine has a GPU")
def test_without_a_gpu_the_command_says_why(tmp_path, capsys):
    path = tmp_path / "net.bnn"
    bnn_tvm.compile(LENET, target="sm_80", input_shape=(1, 1, 28, 28)).save(path)
    assert main(["bench", str(path)]) == 6
    assert "code for sm_80 runs on a GPU of that architecture or newer" in capsys.readouterr().err
