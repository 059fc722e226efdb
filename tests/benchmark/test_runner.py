"""Timing on a board: what is run there, what comes back, and every way in which it fails."""

from __future__ import annotations

import stat
import sys

import pytest
from c_harness import AARCH64, CORTEX_M4, LENET, LENET_SHAPE, lenet, need

import bnn_tvm
from bnn_tvm.benchmark.report import kernel_table, model_table, to_json
from bnn_tvm.benchmark.runner import Program, bench_with_runner, build_program, run_program
from bnn_tvm.errors import DeviceError, PackageError, ToolchainError


def saved(target: str, folder):
    path = folder / f"{target}.bnn"
    lenet(target).save(path)
    return path


def saved_for_the_runtime(target: str, folder):
    path = folder / f"{target}.bnn"
    bnn_tvm.compile(LENET, target=target, input_shape=LENET_SHAPE).save(path)
    return path


def script(folder, name: str, text: str) -> str:
    """An executable that stands for a runner."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    "board, save",
    [(AARCH64, saved), (CORTEX_M4, saved), (AARCH64, saved_for_the_runtime)],
    ids=["c-aarch64", "c-cortex-m4", "library-aarch64"],
)
def test_an_emulator_is_a_board(board, save, tmp_path):
    need("cmake", board.compiler, board.emulator[0])
    report = bench_with_runner(save(board.target, tmp_path), " ".join(board.emulator), 3, True)
    assert report.target == board.target
    assert report.check.largest_difference < 1e-4
    assert {layer for kernel in report.kernels for layer in kernel.layers} == {
        layer.name for layer in lenet(board.target).manifest.layers
    }
    assert "lenet_qconv0_fwd" in to_json(report)
    assert model_table(report).row_count == 1
    assert kernel_table(report).row_count == len(report.kernels)


@pytest.mark.parametrize("save", [saved, saved_for_the_runtime])
def test_ssh_gets_the_program_on_standard_input(save, tmp_path):
    """A stand-in for ssh that runs what it is given in a shell, as a board would."""
    need("cmake", "cc")
    ssh = script(
        tmp_path,
        "ssh",
        "import subprocess, sys\n"
        "assert sys.argv[1] == 'pi@board'\n"
        "sys.exit(subprocess.run(['sh', '-c', sys.argv[2]]).returncode)",
    )
    report = bench_with_runner(save("host", tmp_path), f"{ssh} pi@board", 4, False)
    assert report.check.largest_difference == 0
    assert report.models[0].seconds.median > 0
    assert report.kernels == ()


@pytest.mark.parametrize(
    "text, message",
    [
        ("print('{}', file=__import__('sys').stderr); exit(3)", "status 3"),
        ("print('hello')", "gave no report"),
        (
            'print(\'{"self_test": {"passed": false, "largest_difference": 2.5}}\')',
            "differ from the recorded ones by 2.5",
        ),
    ],
)
def test_what_a_runner_may_do_wrong(text, message, tmp_path):
    runner = script(tmp_path, "runner", text)
    with pytest.raises(DeviceError, match=message):
        run_program(lenet("host").manifest, Program((tmp_path / "check",)), runner, ())


def test_a_runner_that_hangs_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr("bnn_tvm.benchmark.runner._SECONDS", 0.2)
    runner = script(tmp_path, "runner", "import time; time.sleep(60)")
    with pytest.raises(DeviceError, match="did not end"):
        run_program(lenet("host").manifest, Program((tmp_path / "check",)), runner, ())


def test_a_runner_that_is_missing(tmp_path):
    with pytest.raises(ToolchainError, match="fly is not installed"):
        run_program(lenet("host").manifest, Program((tmp_path / "check",)), "fly --fast", ())


def test_what_is_no_package_is_refused(tmp_path):
    (tmp_path / "text.bnn").write_text("no package")
    with pytest.raises(PackageError, match="not a bnn_tvm package"):
        bench_with_runner(tmp_path / "text.bnn", "env", 3, False)


def test_a_package_without_a_self_test_is_not_timed(classifier_file):
    need("cmake", "x86_64-linux-gnu-g++")
    with pytest.raises(DeviceError, match="no self-test"):
        bench_with_runner(classifier_file, "env", 3, False)


def test_missing_tools_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match="apt-get install cmake"):
        build_program(lenet("host"), tmp_path / "folder")


def test_a_missing_cross_compiler_is_named(tmp_path, monkeypatch):
    need("cmake")
    package = lenet("host")
    toolchain = package.files["toolchain.cmake"].replace(b"x86_64-linux-gnu-gcc", b"no-such-gcc")
    broken = type(package)(package.manifest, {**package.files, "toolchain.cmake": toolchain})
    with pytest.raises(ToolchainError, match=r"no-such-gcc.*toolchain.cmake"):
        build_program(broken, tmp_path / "folder")
