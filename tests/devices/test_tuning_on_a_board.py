"""Tuning on a board in a process of its own: what is measured there, and how it fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tvm
from device_harness import BoardProcess
from tvm import te
from tvm.s_tir import meta_schedule as ms

import bnn_tvm
from bnn_tvm.cli import main
from bnn_tvm.devices.connection import connect_direct
from bnn_tvm.errors import DeviceUnreachableError, WrongArchitectureError
from bnn_tvm.target import get_target
from bnn_tvm.tuning.board import Board, BoardRunner, find_board, measure_on_board
from bnn_tvm.tuning.records import find_log

HOST = get_target("host")


def reach(process: BoardProcess, seconds: float = 60.0) -> Board:
    return find_board(lambda: connect_direct(process.address, 10), seconds)


@dataclass(frozen=True)
class Library:
    """A built kernel, as MetaSchedule's builder hands it over."""

    artifact_path: str
    args_info: Sequence[Any]


@pytest.fixture
def built(tmp_path) -> Callable[[Callable], Library]:
    """Builds kernels that compute a vector of integers from another."""

    def build(body: Callable) -> Library:
        x = te.placeholder((64,), "int32", "x")
        mod = tvm.IRModule({"main": te.create_prim_func([x, te.compute((64,), body(x))])})
        path = tmp_path / str(len(list(tmp_path.iterdir()))) / "kernel.so"
        path.parent.mkdir()
        tvm.compile(mod, HOST.to_tvm()).export_library(str(path))
        return Library(str(path), ms.arg_info.ArgInfo.from_entry_func(mod))

    return build


def shift(step: int) -> Callable:
    """A kernel that reads so far apart that it must crash, if the step is long enough."""
    return lambda x: lambda i: x[i * step]


def forever(x):
    """A kernel that chases through its input for hours."""
    k = te.reduce_axis((0, 2**40), "k")
    return lambda i: te.max(x[(x[(i + k) % 64] & 63) ^ (k & 63)], k)


def test_libraries_are_timed_and_one_that_crashes_fails_alone(board, built):
    libraries = [built(shift(0)), built(shift(1 << 24)), built(shift(1))]
    good, bad, other = BoardRunner(reach(board), HOST.info()).run(libraries)
    assert "device lost" in bad.error_msg and bad.run_secs == ()
    for sample in (good, other):
        assert not sample.error_msg and len(sample.run_secs) == 1
        assert 0 < sample.run_secs[0] < 1e-3


def test_a_library_that_never_ends_fails_alone(board, built):
    libraries = [built(forever), built(shift(1))]
    endless, good = BoardRunner(reach(board, seconds=2), HOST.info()).run(libraries)
    assert "device time-out" in endless.error_msg and len(good.run_secs) == 1


def test_a_board_that_dies_is_no_fault_of_a_schedule(start_board, built):
    process = start_board()
    runner, library = BoardRunner(reach(process), HOST.info()), built(forever)
    assert not runner.run([built(shift(1))])[0].error_msg
    timer = threading.Timer(1, process.kill)
    timer.start()
    start = time.monotonic()
    with pytest.raises(DeviceUnreachableError):
        runner.run([library])
    assert time.monotonic() - start < 20
    timer.join()


def test_code_for_another_processor_is_refused(board):
    with pytest.raises(WrongArchitectureError, match="aarch64"):
        measure_on_board(get_target("cortex-a72"), reach(board))


@pytest.mark.slow
@pytest.mark.filterwarnings("error::bnn_tvm.errors.TuneLogWarning")
def test_the_command_line(board, tmp_path, capsys):
    import mxnet as mx

    from bnn_tvm.gluon import nn

    mx.random.seed(0)
    net = nn.HybridSequential()
    net.add(nn.QActivation(), nn.QConv2D(32, 3, padding=1, in_channels=32))
    net.initialize()
    net.hybridize()
    net(mx.nd.zeros((1, 32, 8, 8)))
    net.export(str(tmp_path / "net"))
    model, log = tmp_path / "net-symbol.json", tmp_path / "log"
    options = ("--input-shape", "1,32,8,8", "--trials", "4", "--tune-log", str(log))
    assert main(["tune", str(model), "--rpc", str(board.address), *options]) == 0
    assert "bitserial_conv2d" in capsys.readouterr().out
    assert find_log(HOST, log).environment.machine
    package = bnn_tvm.compile(model, input_shape=(1, 32, 8, 8), tune_log=log)
    (kernel,) = [k for k in package.manifest.kernels if k.kind == "bitserial_conv2d"]
    assert kernel.source == "tuned"
    assert np.isfinite(package.recording.outputs[0]).all()
    assert main(["tune", str(model), "--tracker", "a:1", *options]) == 2
