"""The edge stays lean: running a package loads neither the compiler nor the training side."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

HEAVY = ("mxnet", "xgboost", "matplotlib", "tvm", "typer", "rich")


def in_new_process(code: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("module", ["bnn_tvm", "bnn_tvm.runtime", "bnn_tvm.package"])
def test_importing_loads_nothing_heavy(module):
    code = """
        import importlib, sys
        importlib.import_module(sys.argv[1])
        print(*sys.modules)
        """
    loaded = {name.split(".")[0] for name in in_new_process(code, module)}
    assert "bnn_tvm" in loaded
    assert not loaded & set(HEAVY)


def test_running_a_package_maps_no_compiler(classifier_file):
    code = """
        import sys
        import numpy as np
        from bnn_tvm.runtime import Session
        Session(sys.argv[1]).run(np.zeros((2, 8), np.float32))
        heavy = [name for name in sys.argv[2:] if name in sys.modules]
        maps = open("/proc/self/maps").read()
        print("tvm_runtime" in maps, "tvm_compiler" in maps, *heavy)
        """
    assert in_new_process(code, classifier_file, *HEAVY) == ["True", "False"]


def test_target_descriptions_need_no_compiler():
    code = """
        import sys
        from bnn_tvm.target import get_target
        print(get_target("host").architecture, *[n for n in sys.argv[1:] if n in sys.modules])
        """
    assert len(in_new_process(code, *HEAVY)) == 1
