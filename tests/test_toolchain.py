"""Which compiler links for a target, and what is said if there is none."""

from __future__ import annotations

import shutil

import pytest

from bnn_tvm.build import build_library
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import TargetError, ToolchainError
from bnn_tvm.target import get_target
from bnn_tvm.toolchain import find_linker

HERE = LocalDevice("x86_64", "a CPU", frozenset(), 1)


@pytest.fixture
def installed(monkeypatch):
    """Have only some commands on an x86-64 machine."""

    def install(*commands: str) -> None:
        monkeypatch.setattr(LocalDevice, "detect", staticmethod(lambda: HERE))
        found = {command: f"/usr/bin/{command}" for command in commands}
        monkeypatch.setattr(shutil, "which", found.get)

    return install


@pytest.mark.parametrize("commands", [("clang", "gcc"), ("g++", "gcc", "aarch64-linux-gnu-gcc")])
def test_this_machines_own_compiler_links_for_it(installed, commands):
    installed(*commands)
    best = "g++" if "g++" in commands else "gcc"
    assert find_linker(get_target("x86-64-avx2")) == f"/usr/bin/{best}"


@pytest.mark.parametrize(
    ("target", "prefix"),
    [
        ("cortex-a72", "aarch64-linux-gnu"),
        ("armv7-neon", "arm-linux-gnueabihf"),
        ("riscv64", "riscv64-linux-gnu"),
        ("cortex-m4", "arm-none-eabi"),
    ],
)
def test_other_processors_need_a_cross_compiler(installed, target, prefix):
    installed("g++", f"{prefix}-gcc")
    assert find_linker(get_target(target)) == f"/usr/bin/{prefix}-gcc"
    installed("g++", "gcc", "clang")
    with pytest.raises(ToolchainError, match=f"{prefix}-gcc.*apt-get install gcc-{prefix}"):
        find_linker(get_target(target))


def test_a_machine_without_a_compiler_is_told_which_to_install(installed):
    installed("aarch64-linux-gnu-gcc")
    with pytest.raises(ToolchainError, match=r"x86-64-avx2.*apt-get install g\+\+"):
        find_linker(get_target("x86-64-avx2"))


def test_nothing_loads_a_library_on_a_microcontroller():
    with pytest.raises(TargetError, match="cortex-m4 has no operating system"):
        build_library(None, get_target("cortex-m4"))
