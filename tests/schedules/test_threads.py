"""How threads share a kernel: which rows each of them writes, and what is worth sharing."""

from __future__ import annotations

import pytest
import tvm_ffi
from bnn_tvm.schedules import RULES, portable
from bnn_tvm.schedules.rule import apply_first
from relax_harness import assert_same, lower, module, random_floats, random_signs, run
from tvm import tirx
from tvm.s_tir import Schedule
from tvm.sym import Analyzer

from bnn_tvm.kernels.stages import KERNEL, RESULT
from bnn_tvm.target import get_target

TARGET = "x86-64-vpopcntdq"
CHANNELS = 256


def layer(g, x):
    """A layer whose weights are prefetched, several tiles of channels wide."""
    dot = g.conv(g.pad(g.sign(x), 1, -1.0), random_signs(1, CHANNELS, CHANNELS, 3, 3))
    return g.affine(dot, random_floats(2, CHANNELS), random_floats(3, CHANNELS))


def schedule(mod, rules):
    """Schedule a module's kernels; return it and the one that is no mere packing."""
    target, layers = get_target(TARGET), {}
    for gvar, func in list(mod.functions.items()):
        if isinstance(func, tirx.PrimFunc):
            mod.update_func(gvar, apply_first(rules, func, target).func)
            layers[str(func.attrs[KERNEL])] = mod[gvar]
    return mod, layers


def rows_by_iteration(func) -> list[int]:
    """Say which row of its result each iteration of a kernel's shared loop writes."""
    sch = Schedule(func)
    loops = [sch.get(loop) for loop in sch.get_loops(sch.get_sblock(RESULT))]
    row = loops[-1].body.iter_values[1]
    shared = next(loop for loop in loops if loop.kind == tirx.ForKind.PARALLEL)

    def row_of(iteration: int) -> int:
        def place(var: tirx.Var) -> tirx.Expr:
            return tirx.const(iteration * var.same_as(shared.loop_var), "int32")

        return int(Analyzer().simplify(tvm_ffi.structural_map(row, (tirx.Var, place))))

    return [row_of(iteration) for iteration in range(int(shared.extent))]


@pytest.mark.parametrize("size", (14, 7))
def test_layers_in_two_passes_compute_the_same(size):
    shape = (1, CHANNELS, size, size)
    lowered, x = lower(module(layer, shape), TARGET), random_floats(0, *shape)
    by_hand, _ = schedule(lowered, RULES)
    as_written, _ = schedule(lower(module(layer, shape), TARGET), portable.RULES)
    assert_same(run(as_written, [x], TARGET), run(by_hand, [x], TARGET))


def test_two_threads_write_rows_of_their_own():
    _, layers = schedule(lower(module(layer, (1, CHANNELS, 14, 14)), TARGET), RULES)
    rows = rows_by_iteration(layers["bitserial_conv2d"])
    half = len(rows) // 2
    assert set(rows[:half]) == set(range(7)) and set(rows[half:]) == set(range(7, 14))


def test_an_odd_number_of_rows_is_shared_by_channels():
    _, layers = schedule(lower(module(layer, (1, CHANNELS, 7, 7)), TARGET), RULES)
    rows = rows_by_iteration(layers["bitserial_conv2d"])
    assert len(rows) % 2 == 0 and set(rows[: len(rows) // 2]) == set(range(7))


@pytest.mark.parametrize("outputs, is_shared", [(1000, True), (20, False)])
def test_dense_layers_are_shared_by_the_work_that_they_are(outputs, is_shared):
    """A single image's sums are divided, to hide the latency of one: those are the work."""
    mod = lower(module(lambda g, x: g.dense(x, random_floats(1, 512, outputs)), (1, 512)), TARGET)
    _, layers = schedule(mod, RULES)
    assert ("T.parallel" in layers["dense"].script()) == is_shared
