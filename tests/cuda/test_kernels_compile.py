"""Kernels of single layers compile for GPUs: their instructions and what they take."""

from __future__ import annotations

import re

import pytest
from cuda_harness import compile_kernel, disassemble, needs_cuobjdump, usage
from cuda_kernels_harness import planes_kernel

from bnn_tvm.target import get_target

pytestmark = needs_cuobjdump

NATIVE = {"and": "BMMA.168256.AND.POPC", "xor": "BMMA.88128.XOR.POPC"}
MULTIPLY = re.compile(r"\b[A-Z]*MMA\.[.\w]+")


def check(func, name, instruction, folder):
    """One instruction multiplies, and nothing leaves the registers; return the disassembly."""
    code = compile_kernel(func, get_target(name))
    found, used = disassemble(code, folder), usage(code, folder)
    text = found["main_kernel"]
    assert set(MULTIPLY.findall(text)) == {instruction}
    assert all((kernel.stack, kernel.local) == (0, 0) for kernel in used.values())
    assert "LDL" not in text and "STL" not in text
    return text


@pytest.mark.parametrize(
    "target", ["sm_75", "sm_80", pytest.param("sm_90", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "bits", [(2, 2, False), *[pytest.param(c, marks=pytest.mark.slow) for c in
                              ((4, 4, True), (3, 3, True), (8, 2, False))]]
)  # fmt: skip
def test_bit_planes_are_counted_by_tensor_cores(bits, target, tmp_path):
    gpu = get_target(target).gpu
    text = check(planes_kernel(*bits, target, channels=128), target, NATIVE[gpu.b1_mma], tmp_path)
    assert ("LDGSTS" in text) == gpu.async_copy
