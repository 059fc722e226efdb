"""Kernels of single layers compile for GPUs: their instructions and what they take."""

from __future__ import annotations

import re

import pytest
from cuda_harness import choices_of, compile_kernel, disassemble, needs_cuobjdump, usage
from cuda_kernels_harness import number_kernels, planes_kernel, small_map_kernel

from bnn_tvm.target import get_target

pytestmark = needs_cuobjdump

NATIVE = {"and": "BMMA.168256.AND.POPC", "xor": "BMMA.88128.XOR.POPC"}
MULTIPLY = re.compile(r"\b[A-Z]*MMA\.[.\w]+")


def check(func, name, instruction, folder, choices=None):
    """One instruction multiplies, and nothing leaves the registers; return the disassembly."""
    code = compile_kernel(func, get_target(name), choices)
    found, used = disassemble(code, folder), usage(code, folder)
    assert all((kernel.stack, kernel.local) == (0, 0) for kernel in used.values())
    text = "".join(found.values())
    assert set(MULTIPLY.findall(text)) == {instruction}
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


@pytest.mark.parametrize("target", ["sm_80", pytest.param("sm_90", marks=pytest.mark.slow)])
def test_what_is_copied_past_registers_is_waited_for(target, tmp_path):
    """TVM waits for copies in loops over several steps of K; those of one step pass registers."""
    instruction = NATIVE[get_target(target).gpu.b1_mma]
    for channels, steps in ((32, 1), (128, 3)):
        text = check(planes_kernel(2, 2, False, target, channels), target, instruction, tmp_path)
        assert ("LDGSTS" in text) == ("LDGDEPBAR" in text) == (steps > 1)


@pytest.mark.parametrize(
    "wanted", [{"splits": 4}, pytest.param({"stages": 6, "splits": 2}, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("target", ["sm_80", pytest.param("sm_75", marks=pytest.mark.slow)])
def test_blocks_that_share_k_are_two_launches(wanted, target, tmp_path):
    func = small_map_kernel(target, channels=2048)
    choices = choices_of(func, target, **wanted)
    instruction = NATIVE[get_target(target).gpu.b1_mma]
    text = check(func, target, instruction, tmp_path, choices)
    kernels = usage(compile_kernel(func, get_target(target), choices), tmp_path)
    assert len(kernels) == 2 and "VOTE" in text


# float16 is multiplied in halves of K before sm_80.
FLOAT_MMA = {
    ("fp16", "sm_75"): "HMMA.1688.F32",
    ("fp16", "sm_80"): "HMMA.16816.F32",
    ("tf32", "sm_90"): "HMMA.1688.F32.TF32",
}


@pytest.mark.parametrize("precision, target", FLOAT_MMA)
def test_numbers_in_lower_precision_are_multiplied_by_tensor_cores(precision, target, tmp_path):
    stem, wide, *_ = number_kernels(precision, target)
    check(stem, target, FLOAT_MMA[precision, target], tmp_path)
    text = check(wide, target, FLOAT_MMA[precision, target], tmp_path)
    assert ("LDGSTS" in text) == get_target(target).gpu.async_copy
