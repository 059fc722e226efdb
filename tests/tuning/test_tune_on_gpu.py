"""Tuning for GPUs without one: search spaces, what is built to be measured, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import tvm_ffi
from bnn_tvm.schedules import cuda, schedule_kernel
from bnn_tvm.schedules.choices import by_hand
from bnn_tvm.schedules.rule import Record
from cuda_harness import device_code, disassemble, gpu_architecture, needs_cuobjdump, usage
from cuda_kernels_harness import small_map_kernel
from tuning_harness import FakeMeasure, show_nothing
from tvm.s_tir import meta_schedule as ms

from bnn_tvm.cli import main
from bnn_tvm.errors import DeviceError
from bnn_tvm.kernels.signature import kernel_signature
from bnn_tvm.target import get_target
from bnn_tvm.tuning.environment import TuningEnvironment
from bnn_tvm.tuning.gpu_limits import gpu_peak_kernel
from bnn_tvm.tuning.jobs import open_folder, tune
from bnn_tvm.tuning.on_gpu import kernel_builder, measure_on_gpu
from bnn_tvm.tuning.records import find_log
from bnn_tvm.tuning.search import Search
from bnn_tvm.tuning.tasks import Task

TARGET = get_target("sm_80")
HERE = TuningEnvironment("sm_80", "a card", {"bnn_tvm": "1", "tvm": "2", "nvcc": "3"})
without_gpu = pytest.mark.skipif(bool(gpu_architecture()), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def task():
    func = small_map_kernel("sm_80", channels=64)
    return Task(kernel_signature(func), func, cuda.RULES[0], 1, 1000, True, "a layer")


@pytest.mark.slow
def test_the_space_has_tiles_stages_and_blocks_that_share_k():
    func = small_map_kernel("sm_80")
    task = Task(kernel_signature(func), func, cuda.RULES[0], 1, 1000, True, "a layer")
    points = Search(task, TARGET, []).points
    assert points[0]["splits"] == "1" and len(points) > 20
    taken = {name: {point.get(name) for point in points} for name in points[0]}
    assert taken["splits"] >= {"1", "2", "4"} and len(taken["tile"]) > 3
    assert taken["ones"] >= {"inside", "apart"} and len(taken["stages"]) > 1


def test_the_fastest_point_is_kept_and_followed(task, tmp_path):
    with open_folder(tmp_path, TARGET, HERE, False) as journal:
        (result,) = tune([task], TARGET, tmp_path, journal, 12, FakeMeasure(), show_nothing)
    assert result.status.measured == 12
    tuned = schedule_kernel(task.func, TARGET, find_log(TARGET, tmp_path).records())
    wanted = Record("cuda.multiply", result.best.choices)
    expected = schedule_kernel(task.func, TARGET, {task.signature: wanted})
    assert tuned.source == "tuned" and tvm_ffi.structural_equal(tuned.func, expected.func)


@needs_cuobjdump
@pytest.mark.parametrize("binary", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_limit_is_products_in_registers(binary, tmp_path):
    schedule, macs = gpu_peak_kernel(TARGET, binary)
    module = ms.builder.BuilderInput(schedule.mod, TARGET.to_tvm())
    (built,) = kernel_builder(TARGET).build([module])
    assert not built.error_msg
    code = device_code(Path(str(built.artifact_path)).read_bytes())
    (used,) = usage(code, tmp_path).values()
    (text,) = disassemble(code, tmp_path).values()
    assert (used.stack, used.local) == (0, 0)
    assert text.count("BMMA.168256.AND.POPC" if binary else "FFMA") >= 8
    assert "LDG" not in text and macs > 1e9


@needs_cuobjdump
def test_schedules_are_built_to_be_measured_without_a_gpu(task):
    schedule = task.rule.apply(task.func, TARGET, by_hand)
    module = ms.builder.BuilderInput(schedule.mod, TARGET.to_tvm())
    (built,) = kernel_builder(TARGET).build([module])
    assert not built.error_msg and built.artifact_path


@without_gpu
def test_without_a_gpu_the_error_says_where_to_tune(capsys, tmp_path):
    with pytest.raises(DeviceError, match=r"tuning for sm_80 measures on the card.*has it.*--rpc"):
        measure_on_gpu(TARGET)
    command = ["tune", "model-symbol.json", "--target", "sm_80", "--trials", "9"]
    assert main([*command, "--tune-log", str(tmp_path / "log")]) == 6
    assert "tuning for sm_80 measures on the card" in capsys.readouterr().err
    assert not (tmp_path / "log").exists()
