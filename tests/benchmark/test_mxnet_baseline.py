"""A benchmark against MXNet itself, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mxnet") is None, reason="MXNet is not installed"
)

EXPORT = """
import sys
import mxnet as mx
import numpy as np

prefix, weight = sys.argv[1], np.load(sys.argv[2])
x, variable = mx.sym.var("x"), mx.sym.var("weight")
scores = mx.sym.FullyConnected(x, variable, no_bias=True, num_hidden=weight.shape[1])
mx.sym.relu(scores).save(prefix + "-symbol.json")
mx.nd.save(prefix + "-0000.params", {"arg:weight": mx.nd.array(weight.T)})
"""
BENCH = "import sys; from bnn_tvm.cli import main; sys.exit(main(sys.argv[1:]))"


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_mxnet_runs_in_turn_and_agrees(classifier_file, classifier_weight, tmp_path):
    np.save(tmp_path / "weight.npy", classifier_weight)
    python(EXPORT, tmp_path / "net", tmp_path / "weight.npy")
    report = tmp_path / "report.json"
    arguments = ("--baseline", tmp_path / "net-symbol.json", "--rounds", 3, "--json", report)
    shown = python(BENCH, "bench", classifier_file, *arguments)
    assert "net-symbol.json" in shown
    peer = json.loads(report.read_text())["models"][1]
    assert peer["largest_difference"] < 1e-5 and peer["same_class"] == 1
    assert peer["seconds"]["median"] > 0 and peer["speedup"]["median"] > 0
