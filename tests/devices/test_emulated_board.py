"""A 64-bit ARM board under qemu-user: the same numbers, and the same errors, as here."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from device_harness import COMMAND, Process, eventually

import bnn_tvm
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.benchmark.remote import RemoteBoard
from bnn_tvm.cli import main
from bnn_tvm.devices.connection import connect_through
from bnn_tvm.devices.emulator import emulator_command
from bnn_tvm.devices.tracker import Tracker
from bnn_tvm.errors import DeviceLostError, TargetError, ToolchainError, WrongArchitectureError
from bnn_tvm.package import Package
from bnn_tvm.zoo.mnist import load_digits

MODEL = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
TARGET = "cortex-a72"
DIGITS = 200
KEY = "emulated"
IMAGE = np.zeros((1, 1, 28, 28), np.float32)
PATIENCE = 900.0


def test_only_boards_with_a_runtime_are_emulated():
    with pytest.raises(TargetError, match="--runner"):
        emulator_command("armv7", [])


def test_a_missing_emulator_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolchainError, match="apt-get install qemu-user"):
        emulator_command("aarch64", [])


needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("qemu-aarch64", "apt-get", "aarch64-linux-gnu-gcc"))),
    reason="needs qemu-user, apt-get and gcc-aarch64-linux-gnu",
)


@pytest.fixture(scope="module")
def start_emulated(tracker, tmp_path_factory):
    """Starts a board, unless one of an earlier test still lives."""
    folder = tmp_path_factory.mktemp("emulated")
    started: list[Process] = []

    def start() -> Process:
        if started and started[-1].popen.poll() is None:
            return started[-1]
        options = ("--port", 0, "--tracker", tracker, "--key", KEY)
        log = folder / f"{len(started)}.log"
        started.append(Process(log, *COMMAND, "device", "emulate", "aarch64", *options))
        eventually(lambda: boards(tracker) or started[-1].popen.poll() is not None, PATIENCE)
        assert boards(tracker), started[-1].log
        return started[-1]

    yield start
    for process in started:
        process.close()


def boards(tracker) -> int:
    with Tracker(tracker) as lender:
        return sum(queue.free for queue in lender.summary().queues if queue.key == KEY)


def compiled(target: str, images: int) -> Package:
    return bnn_tvm.compile(MODEL, target=target, input_shape=(images, 1, 28, 28))


@needs_tools
@pytest.mark.slow
def test_digits_are_classified_as_here(start_emulated, tracker):
    digits = load_digits()[1].images[:DIGITS]
    expected = compiled("host", DIGITS).run(digits)
    start_emulated()
    with connect_through(tracker, KEY, 60) as connection:
        board = RemoteBoard(connection, 1, 300)
        board.open("lenet", compiled(TARGET, DIGITS))
        (logits,) = board.run("lenet", [digits])
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))
    assert np.abs(logits - expected).max() < 1e-4


@needs_tools
@pytest.mark.slow
def test_a_benchmark_behind_a_tracker(start_emulated, tracker, tmp_path, capsys):
    start_emulated()
    package, report = tmp_path / "lenet.bnn", tmp_path / "report.json"
    compiled(TARGET, 1).save(package)
    place = ("--tracker", str(tracker), "--key", KEY, "--reference", str(MODEL))
    options = ("--per-layer", "--rounds", "2", "--json", str(report))
    assert main(["bench", str(package), *place, *options]) == 0
    assert "bitserial_conv2d" in capsys.readouterr().out
    facts = json.loads(report.read_text())
    assert facts["environment"]["architecture"] == "aarch64"
    assert facts["check"]["largest_difference"] < 1e-4
    assert {"lenet_qconv0_fwd"} in [set(kernel["layers"]) for kernel in facts["kernels"]]


@needs_tools
@pytest.mark.slow
def test_errors_on_an_emulated_board(start_emulated, tracker, classifier):
    board = start_emulated()
    with connect_through(tracker, KEY, 60) as connection:
        remote = RemoteBoard(connection, 1, 60)
        with pytest.raises(WrongArchitectureError, match="is aarch64"):
            remote.open("x", classifier)
        remote.open("lenet", compiled(TARGET, 1))
        threading.Timer(1, board.kill).start()
        start = time.monotonic()
        with pytest.raises(DeviceLostError):
            remote.time_models([IMAGE], Plan(rounds=1, sample_seconds=3600.0))
        assert time.monotonic() - start < 30
    assert boards(tracker) == 0
