"""The installed command in its own process: exit codes, streams and lightness."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

# What the edge lacks: importing any of these fails.
BARE = """
import sys
for name in ("mxnet", "matplotlib", "xgboost", "bnn_tvm.compiler", "bnn_tvm.gluon"):
    sys.modules[name] = None
from bnn_tvm.cli import main
code = main()
sys.exit("tvm was imported" if "tvm" in sys.modules else code)
"""


def call(*arguments: object, bare: bool = False) -> subprocess.CompletedProcess[str]:
    start = (
        ["-c", BARE] if bare else ["-c", "from bnn_tvm.cli import main; raise SystemExit(main())"]
    )
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [("--help",), ("targets",), ("--version",)])
def test_light_commands_work_without_compiler_and_mxnet(arguments):
    done = call(*arguments, bare=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_inspect_and_bench_work_without_compiler_and_mxnet(classifier_file, tmp_path):
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    np.save(x, np.ones((2, 8), np.float32))
    for arguments in (
        ("run", classifier_file, "--input", x, "--output", y),
        ("inspect", classifier_file),
        ("bench", classifier_file, "--per-layer", "--rounds", 2),
    ):
        done = call(*arguments, bare=True)
        assert (done.returncode, done.stderr) == (0, "")
    assert np.load(y).shape == (2, 4)


def test_errors_reach_the_shell():
    done = call("targets", "nowhere")
    assert done.returncode == 4
    assert done.stdout == "" and done.stderr.startswith("error: unknown target 'nowhere'")


def test_a_closed_pipe_is_no_accident():
    code = "from bnn_tvm.cli import main; raise SystemExit(main())"
    shell = f'{sys.executable} -u -c "{code}" targets --json | true'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False)
    assert done.stderr == ""
