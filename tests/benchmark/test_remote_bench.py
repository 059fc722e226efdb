"""Benchmarks on a board in a process of its own: what is checked, timed and reported."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bnn_tvm.benchmark.board_service import BoardService
from bnn_tvm.benchmark.condition import Condition
from bnn_tvm.benchmark.expected import expected_outputs
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.benchmark.remote import RemoteBoard
from bnn_tvm.benchmark.remote_bench import bench_remote, load_packages
from bnn_tvm.benchmark.report import describe_conditions
from bnn_tvm.errors import DeviceError, InputError, WrongArchitectureError, WrongNumbersError
from bnn_tvm.package import Package
from bnn_tvm.package.recording import Recording

QUICK = Plan(rounds=3, warm_up=1, sample_seconds=1e-5)


class Direct:
    """A connection to a service in this process, which may answer wrongly."""

    name = "the board"

    def __init__(self, change=lambda facts: facts, noise: float = 0.0) -> None:
        self._service = BoardService(1 << 20)
        self._change, self._noise = change, noise

    def call(self, request: bytes, seconds: float, action: str) -> bytes:
        from bnn_tvm.devices.messages import pack_message, unpack_message

        facts, arrays = unpack_message(self._service.answer(request))
        arrays = {name: array + np.float32(self._noise) for name, array in arrays.items()}
        return pack_message(self._change(facts), arrays)


def board(**options) -> RemoteBoard:
    return RemoteBoard(Direct(**options), threads=1, seconds=30)


def test_a_package_and_a_baseline(classifier_file):
    packages = load_packages(classifier_file, [classifier_file])
    seen = []
    report = bench_remote(
        packages, board(), per_layer=True, plan=QUICK, progress=lambda *step: seen.append(step)
    )
    assert [model.label for model in report.models] == list(packages)
    assert report.models[1].largest_difference == 0
    matmul, relu = report.kernels
    assert matmul.gops > 0 and list(matmul.speedups) == list(packages)[1:] and not relu.speedups
    assert seen == [("matmul", 0, 2), ("relu", 1, 2)]
    assert report.check.largest_difference == 0
    assert "the same package" in describe_conditions(report)[0]


def test_other_numbers_are_refused_before_anything_is_timed(classifier_file):
    packages = load_packages(classifier_file, [])
    with pytest.raises(WrongNumbersError, match=r"differ by 0\.1.*--tolerance"):
        bench_remote(packages, board(noise=0.1), plan=QUICK)
    assert bench_remote(packages, board(noise=0.1), plan=QUICK, tolerance=0.2).check is not None
    with pytest.raises(WrongNumbersError):
        bench_remote(packages, board(noise=np.nan), plan=QUICK, tolerance=1e9)


@pytest.fixture
def foreign(classifier) -> Package:
    target = dataclasses.replace(classifier.manifest.target, triple="aarch64-linux-gnu")
    return Package(dataclasses.replace(classifier.manifest, target=target), classifier.library)


def test_a_package_that_does_not_run_here_is_held_against_a_reference(classifier, foreign):
    x = np.ones((2, 8), np.float32)
    with pytest.raises(WrongArchitectureError, match="--reference"):
        expected_outputs(foreign, [x], None)
    expected = expected_outputs(foreign, [x], classifier)
    assert expected.source == "the reference on this machine"
    np.testing.assert_array_equal(expected.outputs[0], classifier.run(x))
    with pytest.raises(InputError, match="has 1 inputs, 2 were given"):
        expected_outputs(foreign, [x, x], classifier)


def test_a_package_that_does_not_run_here_is_held_against_its_self_test(foreign):
    recording = Recording(np.ones(2, np.int8), (np.ones((2, 4), np.float32),), 0.5)
    package = dataclasses.replace(
        foreign,
        manifest=dataclasses.replace(foreign.manifest, self_test_tolerance=0.5),
        selftest=recording.to_files(),
    )
    expected = expected_outputs(package, None, None)
    assert (expected.source, expected.tolerance) == ("its self-test", 0.5)
    np.testing.assert_array_equal(expected.inputs[0], np.full((2, 8), 1 / 32, np.float32))
    with pytest.raises(WrongArchitectureError, match="leave out --input"):
        expected_outputs(package, expected.inputs, None)
    with pytest.raises(WrongArchitectureError):
        expected_outputs(foreign, None, None)


def test_a_model_cannot_be_a_baseline_on_a_board(classifier_file, tmp_path):
    with pytest.raises(InputError, match="times packages only"):
        load_packages(classifier_file, [tmp_path / "net-symbol.json"])


@pytest.mark.parametrize("key", ["machine", "processor", "environment", "max_upload"])
def test_a_board_of_another_version_is_named(key):
    def change(facts):
        return {name: value for name, value in facts.items() if name != key}

    with pytest.raises(DeviceError, match="use the same on both"):
        board(change=change)


def test_errors_of_unknown_names_are_device_errors():
    with pytest.raises(DeviceError, match="the board says: Oops: no"):
        board(change=lambda facts: {"error": "Oops", "text": "no"})


def test_conditions_leave_out_what_is_not_known(classifier_file):
    report = bench_remote(load_packages(classifier_file, []), board(), plan=QUICK)
    hot = Condition(61.5, 600.0, 1800.0, 1 << 20, 2 << 20)
    unknown = Condition(None, None, None, None, None)
    lines = describe_conditions(dataclasses.replace(report, before=hot, after=hot))
    assert lines[1:] == [
        "temperature: 61.5 -> 61.5 °C",
        "clock: 600 -> 600 MHz, at most 1800",
        "peak memory of the process: 2.0 MiB",
    ]
    assert len(describe_conditions(dataclasses.replace(report, before=unknown, after=unknown))) == 1


def test_conditions_are_read(monkeypatch, tmp_path):
    import bnn_tvm.benchmark.condition as condition

    for zone, value in (
        ("thermal_zone0", "40123\n"),
        ("thermal_zone1", "55000"),
        ("thermal_zone2", ""),
    ):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "temp").write_text(value)
    (tmp_path / "scaling_cur_freq").write_text("600000\n")
    monkeypatch.setattr(condition, "_THERMAL", tmp_path)
    monkeypatch.setattr(condition, "_CLOCK", tmp_path)
    now = Condition.now()
    assert (now.celsius, now.megahertz, now.max_megahertz) == (55.0, 600.0, None)
    assert now.peak_memory_bytes >= now.memory_bytes > 1 << 20


def test_the_command_line(monkeypatch, capsys, classifier_file, tmp_path):
    """`bnn-tvm bench --rpc` from end to end, but for the connection."""
    import contextlib

    from bnn_tvm.cli import main

    monkeypatch.setattr(
        "bnn_tvm.devices.connection.connect_direct",
        lambda address, wait: contextlib.nullcontext(Direct()),
    )
    report, chart = tmp_path / "r.json", tmp_path / "c.png"
    command = ["bench", str(classifier_file), "--rpc", "pi:9090", "--rounds", "2", "--per-layer"]
    assert main([*command, "--json", str(report), "--chart", str(chart)]) == 0
    shown = capsys.readouterr().out
    assert "matmul" in shown and "numbers: as the same package" in shown
    facts = json.loads(report.read_text())
    assert facts["check"]["largest_difference"] == 0 and facts["after"]["peak_memory_bytes"] > 0
    assert chart.read_bytes().startswith(b"\x89PNG")
    for wrong in (
        ("--tracker", "a:1"),
        ("--key", "x"),
        ("--rpc", "a:1", "--tracker", "b:2", "--key", "k"),
    ):
        assert main(["bench", str(classifier_file), *wrong]) == 2
        assert "together" in capsys.readouterr().err or "not both"
