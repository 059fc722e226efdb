"""Products by warpgroups (`wgmma`) compile for Hopper: their instructions and what they take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cuda_harness import (
    architectures,
    choices_of,
    compile_kernel,
    device_code,
    disassemble,
    needs_cuobjdump,
    ptx,
    usage,
)
from cuda_kernels_harness import conv_kernel, planes_kernel

import bnn_tvm
from benchmarks.gpu.prepare import make_product
from bnn_tvm.compiler import prepare
from bnn_tvm.target import get_target
from bnn_tvm.tuning.environment import describe_environment
from bnn_tvm.tuning.records import BestSchedule, write_best, write_environment
from bnn_tvm.tuning.tasks import find_tasks

pytestmark = needs_cuobjdump

HOPPER = get_target("sm_90")
LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
SHAPE = (1, 1, 28, 28)
MULTIPLY = re.compile(r"\b[A-Z]*MMA\.[.\w]+")
GROUP, REGISTER_UNIT = 128, 8


def compiled(func, **wanted):
    """Compile a kernel with the choices by hand, but for some; return its choices as well."""
    choices = choices_of(func, "sm_90", instruction="wgmma", **wanted)
    return compile_kernel(func, HOPPER, choices), choices


def columns_of(choices):
    """Read how many columns one instruction has."""
    return int(choices["tile"].split(" by ")[0].split("x")[1])


def check(func, folder, groups, **wanted):
    """One instruction multiplies, nothing leaves the registers, and those of all groups fit."""
    code, choices = compiled(func, **wanted)
    assert architectures(code, folder) == ({"sm_90a"}, {"sm_90"})
    text, used = "".join(disassemble(code, folder).values()), usage(code, folder)
    assert set(MULTIPLY.findall(text)) == {f"BGMMA.64x{columns_of(choices)}x256.AND.POPC"}
    assert all((kernel.stack, kernel.local) == (0, 0) for kernel in used.values())
    assert "LDL" not in text and "STL" not in text
    registers = -(-max(kernel.registers for kernel in used.values()) // REGISTER_UNIT)
    assert HOPPER.gpu.registers // (registers * REGISTER_UNIT * GROUP) >= groups
    return text


# How many warpgroups' registers fit a multiprocessor, at least: those of one block or more.
KERNELS = {
    "product of 8192^3": (lambda: make_product(8192, HOPPER).func, 2, {}),
    "7x7x512, batch 64": (lambda: conv_kernel(64, 7, 512, HOPPER), 8, {}),
    "7x7x512, batch 1": (lambda: conv_kernel(1, 7, 512, HOPPER), 8, {}),
    "7x7x512, batch 1, K shared": (lambda: conv_kernel(1, 7, 512, HOPPER), 8, {"splits": 8}),
    "14x14x256, batch 64": (lambda: conv_kernel(64, 14, 256, HOPPER), 5, {}),
    "14x14x256, batch 1": (lambda: conv_kernel(1, 14, 256, HOPPER), 8, {}),
    "planes": (lambda: planes_kernel(2, 2, False, "sm_90", channels=128), 8, {}),
}
FAST = ("product of 8192^3", "7x7x512, batch 1, K shared")


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=() if k in FAST else pytest.mark.slow) for k in KERNELS]
)
def test_warpgroups_multiply_without_spilling(name, tmp_path):
    make, groups, wanted = KERNELS[name]
    text = check(make(), tmp_path, groups, **wanted)
    assert "LDGSTS" in text


def test_copies_are_shown_to_tensor_cores_before_the_barrier(tmp_path):
    """A thread waits for its copies, shows them, and only then tells the others."""
    code, _ = compiled(conv_kernel(1, 7, 512, HOPPER), splits=8)
    text = "".join(disassemble(code, tmp_path).values())
    order = re.findall(r"LDGDEPBAR|DEPBAR\.LE SB0|FENCE\.VIEW\.ASYNC|BAR\.SYNC|BGMMA", text)
    firsts = [i for i, step in enumerate(order) if step == "BGMMA" and order[i - 1] != step]
    assert firsts
    for first in firsts:
        assert order[first - 3 : first] == ["DEPBAR.LE SB0", "FENCE.VIEW.ASYNC", "BAR.SYNC"]


def test_a_step_is_waited_for_when_the_next_one_is_under_way(tmp_path):
    """Its place in shared memory is not copied to before: that takes three of them."""
    func = conv_kernel(64, 7, 512, HOPPER)
    for stages, left in ((2, "0x0"), (3, "0x1"), (4, "0x1")):
        code, _ = compiled(func, stages=stages)
        text = "".join(disassemble(code, tmp_path).values())
        *waits, last = re.findall(r"WARPGROUP\.DEPBAR\.LE gsb0, (0x\d)", text)
        assert waits and set(waits) == {left} and last == "0x0"


def test_later_gpus_get_ptx_without_warpgroups(tmp_path):
    code, _ = compiled(conv_kernel(1, 7, 512, HOPPER), splits=8)
    text = ptx(code, tmp_path)
    assert "wgmma" not in text and "fence.proxy" not in text
    assert "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc" in text


def test_a_package_with_warpgroups_carries_code_for_hopper_alone_and_ptx_for_others(tmp_path):
    prepared = prepare(LENET, target="sm_90", input_shape=SHAPE)
    tasks = find_tasks(prepared.lowered, prepared.manifest.kernels, HOPPER)
    task = next(task for task in tasks if task.signature.startswith("bitserial_conv2d "))
    choices = choices_of(task.func, "sm_90", instruction="wgmma")
    write_environment(tmp_path, describe_environment(HOPPER))
    write_best(tmp_path, BestSchedule(task.signature, "cuda.multiply", choices, 1e-6, 1e-6, 1))
    package = bnn_tvm.compile(LENET, target="sm_90", input_shape=SHAPE, tune_log=tmp_path)
    assert architectures(device_code(package.library), tmp_path) == ({"sm_90a"}, {"sm_90"})
    (tuned,) = [kernel for kernel in package.manifest.kernels if kernel.source == "tuned"]
    assert tuned.kind == "bitserial_conv2d" and "instruction wgmma" in tuned.note
    assert package.manifest.target.gpu == "sm_90"
