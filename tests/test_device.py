"""The local device: reading what Linux says about the processor."""

from __future__ import annotations

import pytest

import bnn_tvm.device as device
from bnn_tvm.device import LocalDevice, find_device
from bnn_tvm.errors import DeviceError

X86 = "processor\t: 0\nmodel name\t: A: fast CPU\nflags\t\t: fpu avx2 popcnt\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\n"


@pytest.mark.parametrize(
    ("text", "machine", "expected"),
    [
        (X86, "x86_64", ("x86_64", "A: fast CPU", {"fpu", "avx2", "popcnt"})),
        (X86, "AMD64", ("x86_64", "A: fast CPU", {"fpu", "avx2", "popcnt"})),
        (ARM, "arm64", ("aarch64", "arm64", {"fp", "asimd"})),
        ("", "riscv64", ("riscv64", "riscv64", set())),
    ],
)
def test_cpuinfo_is_read(monkeypatch, tmp_path, text, machine, expected):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = LocalDevice.detect()
    assert (found.architecture, found.cpu_model, found.flags) == expected
    assert found.cores >= 1


def test_a_system_without_cpuinfo_has_no_flags(monkeypatch, tmp_path):
    monkeypatch.setattr(device, "CPUINFO", tmp_path / "none")
    assert LocalDevice.detect().flags == frozenset()


def test_devices_are_found_by_name():
    assert find_device("local") == LocalDevice.detect()
    with pytest.raises(DeviceError, match="allowed: local"):
        find_device("moon")
