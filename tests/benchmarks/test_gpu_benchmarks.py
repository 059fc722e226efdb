"""The kernels of the benchmarks of GPUs compile and compute; the table says what is met."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from cuda_harness import disassemble, gpu_architecture, needs_cuobjdump
from cuda_serial_harness import run_serially, schedule, serialize
from rich.console import Console

from benchmarks.gpu import __main__ as command
from benchmarks.gpu.ours import Conv, build_kernel, conv_kernel, gemm_kernel, list_instructions
from benchmarks.gpu.peak import compile_peak
from bnn_tvm.target import get_target

TARGET = get_target("sm_90")
KERNELS = {
    "gemm": gemm_kernel(64, TARGET),
    "conv": conv_kernel(Conv(1, 5, 64), TARGET),
}


def operands(func):
    generator = np.random.default_rng(1)
    shapes = [tuple(int(extent) for extent in param.shape) for param in func.params[:3]]
    words = [generator.integers(0, 2**32, shape, dtype=np.uint32) for shape in shapes[:2]]
    return [*words, generator.integers(0, 999, shapes[2]).astype(np.int32)]


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_count_what_they_should(name):
    func, arrays = KERNELS[name], operands(KERNELS[name])
    scheduled = schedule(func, TARGET.id)
    assert scheduled.rule == "cuda.multiply"
    (expected,) = run_serially(func, arrays)
    (found,) = run_serially(serialize(scheduled.func), arrays)
    np.testing.assert_array_equal(found, expected)


@needs_cuobjdump
def test_the_peak_is_products_and_nothing_else(tmp_path):
    text = disassemble(compile_peak(TARGET), tmp_path)["peak"]
    loop = text.count("BMMA.168256.AND.POPC")
    assert loop >= 8 and text.count("LDG") == 0 and loop / text.count(";") > 0.1


@needs_cuobjdump
def test_kernels_compile():
    assert build_kernel(KERNELS["conv"], TARGET) is not None


def test_each_instruction_that_the_rule_offers_is_measured():
    func = conv_kernel(Conv(1, 9, 64), TARGET)
    assert list_instructions(func, TARGET) == ["mma", "wgmma"]
    assert list_instructions(KERNELS["conv"], TARGET) == ["mma"]


@needs_cuobjdump
@pytest.mark.slow
def test_a_layer_compiles_with_each_instruction():
    func = conv_kernel(Conv(1, 9, 64), TARGET)
    assert all(build_kernel(func, TARGET, name) for name in list_instructions(func, TARGET))


def test_the_table_says_what_is_met():
    row = command.Row("a layer", 12e-6, 3.5, 3.0, "times a peer")
    rows = [row, dataclasses.replace(row, name="another", figure=2.5)]
    console = Console(record=True, width=100)
    console.print(command.to_table(iter(rows), "a card"))
    text = console.export_text()
    assert "a card" in text and "12.0" in text and "yes" in text and "no" in text


@pytest.mark.skipif(bool(gpu_architecture()), reason="this machine has a GPU")
def test_without_a_gpu_the_command_says_why(capsys):
    assert command.main() == 6
    assert "runs on a GPU of that architecture" in capsys.readouterr().err
