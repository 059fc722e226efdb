"""Boards with a GPU, behind real servers: what is measured on which card, and what is refused.

Where a GPU would be needed the processor stands in for it; tests/cuda has the same on a card.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from bnn_tvm.schedules import cuda
from bnn_tvm.schedules.choices import by_hand
from card_harness import SerialBuilder, card_command
from cuda_harness import (
    architectures,
    device_code,
    gpu_architecture,
    needs_cuobjdump,
    needs_nvcc,
)
from cuda_kernels_harness import small_map_kernel
from cuda_serial_harness import scalar_intrinsics, without_instructions
from device_harness import BoardProcess, eventually
from tvm import te
from tvm.s_tir import meta_schedule as ms

from bnn_tvm.benchmark.board import Board as LocalBoard
from bnn_tvm.benchmark.board_facts import BoardFacts
from bnn_tvm.benchmark.board_service import BoardService
from bnn_tvm.benchmark.expected import expected_outputs
from bnn_tvm.benchmark.measure import Plan, Timing
from bnn_tvm.benchmark.remote import RemoteBoard
from bnn_tvm.cli import main
from bnn_tvm.device import LocalDevice
from bnn_tvm.devices.connection import connect_direct, connect_through
from bnn_tvm.devices.tracker import Tracker
from bnn_tvm.errors import DeviceError, WrongArchitectureError
from bnn_tvm.gpu import GpuInfo
from bnn_tvm.kernels.signature import kernel_signature
from bnn_tvm.target import get_target
from bnn_tvm.tuning import jobs, model
from bnn_tvm.tuning.board import Board, BoardRunner, find_board, measure_on_board
from bnn_tvm.tuning.environment import TuningEnvironment
from bnn_tvm.tuning.measuring import measure_built
from bnn_tvm.tuning.records import read_environment
from bnn_tvm.tuning.tasks import Task

CARD = GpuInfo("NVIDIA A100", "8.0")
AMPERE, HOPPER = get_target("sm_80"), get_target("sm_90")
LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
without_gpu = pytest.mark.skipif(bool(gpu_architecture()), reason="this machine has a GPU")


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """A board with a GPU that the processor stands in for."""
    folder = tmp_path_factory.mktemp("card")
    process = BoardProcess(folder, command=card_command(CARD.name, CARD.capability))
    yield process
    process.close()


def reach(process: BoardProcess) -> Board:
    return find_board(lambda: connect_direct(process.address, 10), 60)


def pretended(info: GpuInfo, **machine: Any) -> Board:
    """A board that is not there."""
    device = dataclasses.replace(LocalDevice.detect(), **machine)
    return Board(lambda: None, BoardFacts("the board at x:1", device, "a processor", info), 60)


# What a board says.


def test_a_board_names_its_gpu(card):
    facts = reach(card).facts
    assert facts.gpu == CARD and facts.name == f"the board at {card.address}"
    assert facts.model_that_runs(AMPERE.info()) == CARD.name
    assert facts.model_that_runs(get_target("x86-64").info()) == facts.processor != CARD.name


@without_gpu
def test_a_board_without_a_gpu_says_why(board):
    gpu = reach(board).facts.gpu
    assert (gpu.name, gpu.capability) == ("", "") and gpu.problem


@pytest.mark.parametrize(
    ("board", "error", "message"),
    [
        (
            pretended(GpuInfo(problem="no driver; get one")),
            DeviceError,
            "has none that works: no driver; get one",
        ),
        (
            pretended(CARD),
            WrongArchitectureError,
            r"has compute capability 8\.0; choose --target sm_80",
        ),
        (
            pretended(CARD, architecture="aarch64"),
            WrongArchitectureError,
            "is aarch64; compile with",
        ),
    ],
)
def test_a_board_that_cannot_run_the_code_is_named_with_what_to_do(board, error, message):
    with pytest.raises(error, match=f"the board at x:1 {message}"):
        measure_on_board(HOPPER, board)


# Tuning.


@without_gpu
def test_tuning_on_a_board_without_a_gpu(board, capsys, tmp_path):
    place = ("--rpc", str(board.address), "--tune-log", str(tmp_path / "log"))
    assert main(["tune", "net-symbol.json", "--target", "sm_90", "--trials", "9", *place]) == 6
    said = capsys.readouterr().err
    assert f"the board at {board.address} has none that works" in said and "install" in said
    assert not (tmp_path / "log").exists()


def test_tuning_for_a_newer_gpu_than_the_boards(card, capsys, tmp_path):
    place = ("--rpc", str(card.address), "--tune-log", str(tmp_path / "log"))
    assert main(["tune", "net-symbol.json", "--target", "sm_90", "--trials", "9", *place]) == 6
    assert f"the NVIDIA A100 of the board at {card.address} has" in capsys.readouterr().err


@needs_nvcc
def test_the_log_names_the_card(card, monkeypatch, tmp_path):
    monkeypatch.setattr(model, "tune", lambda *job: [])
    shape = (1, 1, 28, 28)
    model.tune_model(LENET, target="sm_80", input_shape=shape, tune_log=tmp_path, board=reach(card))
    assert read_environment(tmp_path, AMPERE).machine == CARD.name


@pytest.mark.slow
def test_schedules_are_built_here_and_timed_on_the_board(card, monkeypatch, tmp_path):
    func, target, board = small_map_kernel("sm_80", channels=64), AMPERE, reach(card)
    task = Task(kernel_signature(func), func, cuda.RULES[0], 1, 1000, True, "a layer")
    (tmp_path / "built").mkdir()
    builder = SerialBuilder(tmp_path / "built")
    runner = BoardRunner(board, target.info())
    here = TuningEnvironment(target.id, CARD.name, {"bnn_tvm": "1", "tvm": "2", "nvcc": "3"})
    # The loop of instructions in registers that gives the limit is source code for a GPU.
    monkeypatch.setattr(jobs, "measure_peak", lambda *job: 1e12)
    measure = measure_built(target, builder, runner, "cuda")
    with scalar_intrinsics(), jobs.open_folder(tmp_path, target, here, False) as journal:
        plain = without_instructions("sm_80")
        (result,) = jobs.tune([task], plain, tmp_path, journal, 2, measure, lambda *status: None)
    assert result.status.measured == 2 and 0 < result.best.seconds <= result.best.seconds_by_hand
    assert all(1e-7 < second < 1 for second in journal.measurements[0].seconds)


@dataclasses.dataclass(frozen=True)
class Library:
    """A built kernel, as MetaSchedule's builder hands it over."""

    artifact_path: str
    args_info: Any


@pytest.fixture
def built(tmp_path) -> Callable[[int], Library]:
    """Builds a kernel of 64 numbers, to be called with so many."""

    def build(given: int) -> Library:
        x = te.placeholder((64,), "int32", "x")
        func = te.create_prim_func([x, te.compute((64,), lambda i: x[i] + 1)])
        path = tmp_path / f"{given}.so"
        tvm.compile(tvm.IRModule({"main": func}), "llvm").export_library(str(path))
        return Library(str(path), [ms.arg_info.TensorInfo("int32", (given,))] * 2)

    return build


def test_a_kernel_that_fails_costs_its_own_session(card, built):
    runner = BoardRunner(reach(card), AMPERE.info())
    before = card.sessions()
    good, bad, other = runner.run([built(64), built(32), built(64)])
    assert "the board at" in bad.error_msg and "64" in bad.error_msg and bad.run_secs == ()
    assert all(0 < sample.run_secs[0] < 1e-3 for sample in (good, other))
    # Beside the two that measure, one that looks whether the board is still there.
    assert card.sessions() == before + 3


def test_boards_of_one_key_with_other_cards_are_not_mixed(start_board, tracker, key, built):
    def join(capability: str) -> BoardProcess:
        options = ("--tracker", tracker, "--key", key)
        command = card_command(f"card {capability}", capability)
        process = start_board(*options, command=command)
        eventually(lambda: free(tracker, key) == 1)
        return process

    first = join("8.0")
    board = find_board(lambda: connect_through(tracker, key, 30), 60)
    runner = BoardRunner(board, AMPERE.info())
    assert runner.run([built(64)])[0].run_secs
    first.close()
    eventually(lambda: free(tracker, key) == 0)
    join("9.0")
    with pytest.raises(DeviceError, match=r"on card 9\.0, and the tuning began on card 8\.0; give"):
        runner.run([built(64)])


def free(tracker, key) -> int:
    with Tracker(tracker) as lender:
        return sum(queue.free for queue in lender.summary().queues if queue.key == key)


class Recorder(LocalBoard):
    """Keeps what it is to measure, and measures nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Any, ...]] = []

    def find_gpu(self) -> GpuInfo:
        return CARD

    def time_library(self, *asked: Any) -> Timing:
        self.asked.append(asked)
        return Timing((1e-6,), 7)


class Direct(contextlib.nullcontext):
    """A connection to a service in this process."""

    name = "the board"

    def __init__(self, service: BoardService) -> None:
        super().__init__(self)
        self._service = service

    def call(self, request: bytes, seconds: float, action: str) -> bytes:
        return self._service.answer(request)


@pytest.mark.slow
@needs_cuobjdump
def test_what_is_uploaded_is_machine_code_for_the_target(tmp_path):
    recorder = Recorder()
    service = BoardService(1 << 24, recorder)
    measure = measure_on_board(AMPERE, find_board(lambda: Direct(service), 60))
    func = small_map_kernel("sm_80", channels=64)
    (outcome,) = measure([cuda.RULES[0].apply(func, AMPERE, by_hand)], 1)
    assert outcome.seconds == (1e-6,)
    ((library, name, arguments, plan, architecture),) = recorder.asked
    assert architectures(device_code(library), tmp_path) == ({"sm_80"}, {"sm_80"})
    assert (name, architecture) == ("main", "sm_80") and plan.sample_seconds == 0.05
    assert [info.shape for info in arguments] == [tuple(map(int, p.shape)) for p in func.params]


# Benchmarks.


@without_gpu
def test_bench_times_by_events_and_checks_the_self_test(card, gpu_classifier, tmp_path, capsys):
    path, report = tmp_path / "net.bnn", tmp_path / "report.json"
    gpu_classifier.save(path)
    place = ("--rpc", str(card.address), "--per-layer", "--rounds", "2", "--json", str(report))
    assert main(["bench", str(path), *place]) == 0
    found = json.loads(report.read_text())
    assert found["environment"]["gpu"] == CARD.name and "events" in found["model_timing"]
    assert found["check"]["against"] == "its self-test" and len(found["kernels"]) == 2
    assert CARD.name in capsys.readouterr().out


@without_gpu
def test_other_packages_are_timed_beside_it(card, gpu_classifier, classifier, tmp_path):
    paths = [tmp_path / name for name in ("gpu.bnn", "processor.bnn")]
    for path, one in zip(paths, (gpu_classifier, classifier), strict=True):
        one.save(path)
    place = ("--rpc", str(card.address), "--rounds", "2", "--reference", str(paths[1]))
    assert main(["bench", str(paths[0]), "--baseline", str(paths[1]), *place]) == 0


@without_gpu
def test_numbers_of_a_package_for_gpus_are_expected_from_a_reference(gpu_classifier, classifier):
    x = np.ones((2, 8), np.float32)
    with pytest.raises(DeviceError, match=r"numbers cannot be checked here.*--reference"):
        expected_outputs(gpu_classifier, [x], None)
    expected = expected_outputs(gpu_classifier, [x], classifier)
    np.testing.assert_array_equal(expected.outputs[0], classifier.run(x))


@without_gpu
def test_bench_on_a_board_without_a_gpu(board, gpu_classifier, tmp_path, capsys):
    gpu_classifier.save(tmp_path / "net.bnn")
    assert main(["bench", str(tmp_path / "net.bnn"), "--rpc", str(board.address)]) == 6
    assert f"the board at {board.address} has none that works" in capsys.readouterr().err


@without_gpu
def test_a_board_itself_refuses_code_for_a_gpu_that_it_lacks(board, built):
    with connect_direct(board.address, 10) as connection:
        library = Path(built(64).artifact_path).read_bytes()
        with pytest.raises(
            DeviceError, match=r"the board at .* says: code for sm_80 runs on a GPU"
        ):
            RemoteBoard(connection, 1, 60).time_library(library, "main", [], Plan(), "sm_80")
