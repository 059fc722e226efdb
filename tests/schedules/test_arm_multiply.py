"""Products written out for ARM: nothing is read past the operands, and little is waited for."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pytest
import tvm
from bnn_tvm.schedules import schedule_kernel
from bnn_tvm.schedules.arm_multiply import plan_run, write_run
from bnn_tvm.schedules.arm_run import Loop, Run
from tvm.ir import IRModule

from benchmarks.emulated.inner_loop import find_inner_loop
from benchmarks.emulated.kernels import IMAGE, Layer, float_layer
from bnn_tvm.target import get_target

# Where operands begin, in bytes, far from each other.
DATA, WEIGHTS = 1 << 20, 1 << 30


def channels(pixels, vectors, count):
    """Sum the channels of neighbouring pixels."""
    strides = (count * 4, count * 4, count * 4, 4, 1)
    still = Loop(1, (0, 0))
    return Run(
        vectors, Loop(pixels, (1, 0)), still, Loop(count, (0, 1)), "v--So", (count, 1), strides
    )


def window(pixels, vectors, kernel, stride, width):
    """Sum a window of a plane."""
    row, column = Loop(kernel, (1, 0)), Loop(kernel, (0, 1))
    strides = (kernel**2 * 4, kernel**2 * 4, kernel * 4, 4, 1)
    return Run(vectors, Loop(pixels, (0, stride)), row, column, "v-RSo", (width, 1), strides)


RUNS = {
    "channels": channels(7, 2, 64),
    "few channels": channels(4, 3, 12),
    "one vector": channels(14, 1, 32),
    "odd channels": channels(3, 2, 21),
    "stem": window(8, 2, 7, 2, 230),
    "small window": window(8, 2, 3, 1, 34),
    "window in one turn": window(2, 4, 3, 1, 16),
}


def bytes_read(run):
    """Follow the addresses of a run; return the first and last byte of what each load reads."""
    code = write_run(run, plan_run(run))
    kept, moved = run.sums.count, len(code.moved)
    bases = {"pixel": DATA, "weight": WEIGHTS}
    at = {one.name: bases[one.base] + one.offset for one in code.addresses} | {"pixel": DATA}
    operands = [*code.moved, *code.moved, *code.operands]
    numbers = [*range(kept, kept + moved), *range(2 * kept + moved, 2 * kept + 2 * moved + 2)]
    values = {}
    for number, operand in zip(numbers, operands, strict=False):
        name = operand.split()[1]
        values[f"${number}"] = at[name[1:]] if name.startswith("%") else int(name)
    return list(follow(code.lines, values))


def follow(lines, values):
    at, equal = 0, False
    while at < len(lines):
        name, *words = re.findall(r"b\.ne|[$#\w]+", lines[at])
        if name in ("ldr", "ldur"):
            first = values[words[1]] + int(words[2][1:])
            yield first, first + 16
        elif name == "ld1":
            registers = lines[at].count("v")
            yield values[words[-1]], values[words[-1]] + 16 * registers
        elif name == "add":
            added = int(words[2][1:]) if words[2].startswith("#") else values[words[2]]
            values[words[0]] = values[words[1]] + added
        elif name == "cmp":
            equal = values[words[0]] == values[words[1]]
        elif name == "csel":
            values[words[0]] = values[words[2] if equal else words[1]]
        elif name == "b.ne" and not equal:
            at = next(i for i, line in enumerate(lines) if line.endswith(":"))
        at += 1


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_all_operands_are_read_and_nothing_else(run):
    read = bytes_read(run)
    extents = zip(run.data_shape, run.data_strides, strict=True)
    last = sum((extent - 1) * stride for extent, stride in extents)
    data = [(low, high) for low, high in read if low < WEIGHTS // 2]
    assert min(data)[0] == DATA
    assert max(high for _, high in data) == DATA + 4 * (last + 1)
    steps = run.rows.extent * run.steps.extent
    vectors = [WEIGHTS + 4 * run.weight_strides[0] * v for v in range(run.vectors)]
    wanted = {first + 16 * step for first in vectors for step in range(steps)}
    weights = [range(low, high, 16) for low, high in read if low >= WEIGHTS // 2]
    assert {place for places in weights for place in places} == wanted


def test_tiles_that_do_not_fit_the_registers_are_not_planned():
    assert plan_run(channels(7, 4, 64)) is None


def test_loads_that_do_not_reach_are_not_planned():
    far = channels(7, 2, 64)
    assert plan_run(replace(far, data_strides=(1 << 14, 1))) is None


@pytest.mark.skipif(shutil.which("llvm-mca") is None, reason="llvm-mca is not installed")
@pytest.mark.parametrize(
    "layer, inputs, kernel, stride",
    [(Layer(112, 64), IMAGE, 7, 2), (Layer(28, 128), 64, 1, 1), (Layer(7, 128), 64, 3, 1)],
)
def test_the_inner_loop_reaches_four_fifths_of_the_bound(layer, inputs, kernel, stride):
    target = get_target("cortex-a53")
    func = schedule_kernel(float_layer(layer, inputs, kernel, stride, target), target).func
    named = func.with_attr("global_symbol", "kernel")
    built = tvm.compile(IRModule({"kernel": named}), target.to_tvm()).mod
    loop = find_inner_loop(built.inspect_source("asm"), "fmla")
    assert loop.stack_accesses == 0
    assert loop.cycles(target) / loop.count("fmla") <= 1.25
