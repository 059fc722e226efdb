"""The command ``python -m benchmarks``."""

from __future__ import annotations

import os

import pytest
from results_by_hand import result_of
from typer.testing import CliRunner

from benchmarks.__main__ import app, choose_cores
from benchmarks.cases import PEAKS, THREADS, all_cases
from benchmarks.results import save_results
from bnn_tvm.errors import DeviceError, InputError


def invoke(*arguments: object):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_cases_are_listed():
    assert invoke("list").output.split("\n")[:-1] == [case.name for case in all_cases()]


def test_results_are_reported_without_measuring(tmp_path):
    save_results((result_of(PEAKS, {}, {"binary": [2e12]}),), tmp_path / "results.json")
    assert "2000 GOP/s" in invoke("report", "--folder", tmp_path).output
    assert "2000 GOP/s" in (tmp_path / "report.md").read_text()


def test_cases_for_more_cores_are_skipped(tmp_path, monkeypatch):
    save_results((result_of(PEAKS, {}, {"binary": [2e12]}),), tmp_path / "results.json")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert (
        "skipping two threads"
        in invoke("time", "--only", THREADS.name, "--folder", tmp_path).output
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prepare", "--only", "no such case"), "no case is called no such case"),
        (("prepare", "--only", "peaks"), "these cases are of none"),
        (("prepare", "--engine", "theirs"), "these cases are of MXNet, OpenVINO"),
        (("report",), "measure them first"),
    ],
)
def test_errors_say_what_to_do(tmp_path, arguments, message):
    error = invoke(*arguments, "--folder", tmp_path).exception
    assert isinstance(error, InputError)
    assert message in str(error)


def test_the_last_cores_are_taken(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert choose_cores([], 1) == {2}
    assert choose_cores([], 2) == {1, 2}
    assert choose_cores([0], 1) == {0}


@pytest.mark.parametrize(("wanted", "threads"), [([3], 1), ([1], 2), ([1, 1], 2)])
def test_cores_that_cannot_be_had_are_refused(monkeypatch, wanted, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    with pytest.raises(DeviceError, match="--core"):
        choose_cores(wanted, threads)
