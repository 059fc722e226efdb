"""Real builds and measurements on this machine; tuned kernels give the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from bnn_tvm.schedules import Record, schedule_kernel
from bnn_tvm.schedules.choices import walk
from relax_harness import assert_same, run_kernel
from tuning_harness import HERE, TARGET, show_nothing, small_tasks
from tvm import te
from tvm.s_tir import Schedule

from bnn_tvm.benchmark.layers import random_tensor
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import DeviceError, ToolchainError
from bnn_tvm.kernels.stages import NUM_OUTPUTS, SKIPPED
from bnn_tvm.package.manifest import TensorInfo
from bnn_tvm.target import get_target
from bnn_tvm.tuning import measuring
from bnn_tvm.tuning.jobs import open_folder, tune
from bnn_tvm.tuning.limits import measure_peak
from bnn_tvm.tuning.records import find_log

HOST = get_target("host")
needs_target = pytest.mark.skipif(
    bool(LocalDevice.detect().lacks(TARGET.cpu_flags)), reason="this machine cannot run the target"
)


@pytest.fixture(scope="module")
def measure():
    return measuring.measure_locally(HOST)


def outputs(func) -> list[np.ndarray]:
    """Run a scheduled kernel on random arguments; what sums start with leaves them room."""
    inputs = func.params[: -int(func.attrs[NUM_OUTPUTS])]
    infos = [TensorInfo(p.name, tuple(map(int, p.shape)), str(p.dtype), "") for p in inputs]
    arrays = {info.name: random_tensor(info) for info in infos}
    if SKIPPED in arrays:
        arrays[SKIPPED] %= 2
    return run_kernel(func, list(arrays.values()), TARGET.id)


def shift(step: int) -> Schedule:
    """A kernel that reads so far apart that it must crash, if the step is long enough."""
    x = te.placeholder((64,), "int32", "x")
    return Schedule(te.create_prim_func([x, te.compute((64,), lambda i: x[i * step])]))


def test_schedules_are_timed_in_turn_and_one_that_crashes_fails_alone(measure):
    good, bad, other = measure([shift(0), shift(1 << 24), shift(1)], 2)
    assert bad.error and bad.seconds == ()
    for outcome in (good, other):
        assert not outcome.error and len(outcome.seconds) == 2
        assert all(0 < time < 1e-3 for time in outcome.seconds)


@pytest.mark.slow
@needs_target
def test_the_limits_of_a_machine_are_plausible(measure):
    bits, floats = (measure_peak(HOST, binary, measure) for binary in (True, False))
    assert 1e9 < floats < bits < 1e14


@needs_target
def test_a_few_trials_tune_a_kernel_and_change_no_bit(measure, tmp_path):
    task = small_tasks()[0]
    with open_folder(tmp_path, TARGET, HERE, False) as journal:
        (result,) = tune([task], TARGET, tmp_path, journal, 3, measure, show_nothing)
    assert 0 < result.best.seconds <= result.best.seconds_by_hand
    assert result.status.measured == 3
    tuned = schedule_kernel(task.func, TARGET, find_log(TARGET, tmp_path).records())
    assert tuned.source == "tuned"
    by_hand = schedule_kernel(task.func, TARGET)
    assert_same(outputs(by_hand.func), outputs(tuned.func))


@needs_target
def test_points_of_a_search_space_compute_the_same():
    task = small_tasks()[0]
    by_hand = outputs(schedule_kernel(task.func, TARGET).func)
    points = list(walk(lambda choose: task.rule.apply(task.func, TARGET, choose)))
    assert len(points) > 4
    for choices, _ in points[:: len(points) // 4]:
        tuned = schedule_kernel(
            task.func, TARGET, {task.signature: Record(task.rule.name, choices)}
        )
        assert tuned.source == "tuned"
        assert_same(by_hand, outputs(tuned.func))


def test_a_target_of_another_machine_is_refused():
    with pytest.raises(DeviceError, match="aarch64"):
        measuring.measure_locally(get_target("cortex-a72"))


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(measuring.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match=r"xgboost.*bnn_tvm\[tune\]"):
        measuring.require_packages()
