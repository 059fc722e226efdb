"""``bnn-tvm tune``: what it passes on, and what it prints."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from bnn_tvm.cli import main
from bnn_tvm.tuning.jobs import Result, Status
from bnn_tvm.tuning.records import BestSchedule

TASK = types.SimpleNamespace(label="bitserial_conv2d to 1x7x7x512", uses=2)
STATUS = Status(TASK, 40, 64, 1e-4, 9e-5)
BEST = BestSchedule("signature", "x86.register_tile", {"tile": "7x2"}, 1e-4, 1.2e-4, 40)


@pytest.fixture
def tuner(monkeypatch):
    """Stand where `bnn_tvm.tuning.model` does, and record how it is called."""
    calls, results = [], [Result(STATUS, BEST)]

    def tune_model(model, *, progress, show, **options):
        calls.append({"model": model, **options})
        progress("importing", 0, 2)
        show(STATUS, 8, 500)
        return results

    fake = types.SimpleNamespace(tune_model=tune_model)
    monkeypatch.setitem(sys.modules, "bnn_tvm.tuning.model", fake)
    return types.SimpleNamespace(calls=calls, results=results)


def test_options_are_passed_on_and_results_printed(capsys, tuner):
    shape = ("--input-shape", "1,3,224,224")
    arguments = ("net.json", "--trials", "500", "--tune-log", "my_log", "--resume", *shape)
    assert main(["tune", *arguments]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "bitserial_conv2d to 1x7x7x512 2 40 of 64 120.0 100.0 20.0% 90% tile 7x2" in shown
    assert tuner.calls == [
        {
            "model": Path("net.json"),
            "target": "host",
            "input_shape": (1, 3, 224, 224),
            "params": None,
            "trials": 500,
            "tune_log": Path("my_log"),
            "resume": True,
            "board": None,
        }
    ]


@pytest.mark.parametrize(
    "place",
    [("--tracker", "a:1"), ("--key", "k"), ("--rpc", "a:1", "--tracker", "b:2", "--key", "k")],
)
def test_how_a_board_is_reached_must_be_clear(capsys, tuner, place):
    assert main(["tune", "net.json", "--trials", "1", *place]) == 2
    assert tuner.calls == []


def test_a_model_without_choices_is_told_so(capsys, tuner):
    tuner.results.clear()
    assert main(["tune", "net.json", "--trials", "1"]) == 0
    assert capsys.readouterr().out == "no kernel has choices to tune\n"


@pytest.mark.parametrize("trials", [(), ("--trials", "0"), ("--trials", "many")])
def test_the_number_of_trials_must_be_given(capsys, tuner, trials):
    assert main(["tune", "net.json", *trials]) == 2
    assert "--trials" in capsys.readouterr().err
    assert tuner.calls == []
