"""The rule for microcontrollers: the portable rule's numbers, with memory for one pixel."""

from __future__ import annotations

import dataclasses

import pytest
from bnn_tvm.schedules import portable, scalar
from bnn_tvm.schedules.choices import by_hand
from bnn_tvm.schedules.rule import apply_first
from relax_harness import assert_same, module, random_floats, random_signs, run, run_passes
from tvm import relax, tirx

from bnn_tvm.embed.kernels import lower_kernels
from bnn_tvm.kernels.stages import KERNEL
from bnn_tvm.passes.fuse_pooling import fuse_pooling
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.target import get_target

HOST = "x86-64"
# A processor without vectors, but one that this machine can run.
TARGET = dataclasses.replace(get_target(HOST), vector_bits=32, vector_registers=13)
SHAPE = (2, 8, 12, 12)
op = relax.op


def network(g, x):
    """Every kind of kernel, with each kind of output, and two that become one."""
    y = g.conv(x, random_floats(1, 40, 8, 3, 3), padding=1)
    y = g(op.nn.max_pool2d(y, (2, 2), (2, 2)))
    dot = g.conv(g.pad(g.sign(y), 1, -1.0), random_signs(2, 40, 40, 3, 3))
    shortcut = g(op.add(g.affine(dot, random_floats(3, 40), random_floats(4, 40)), y))
    bits = g.conv(g.sign(shortcut), random_signs(5, 33, 40, 1, 1))
    bits = g.sign(g.affine(bits, random_floats(6, 33), random_floats(7, 33)))
    pooled = g(op.nn.max_pool2d(bits, (2, 2), (2, 2)))
    count = g.dense(g(op.reshape(pooled, (2, 297))), random_signs(8, 297, 20))
    return [shortcut, count]


@pytest.fixture(scope="module")
def lowered():
    mod = lower_regions(run_passes(module(network, SHAPE)), TARGET)
    return relax.transform.LegalizeOps()(fuse_pooling(mod))


def schedule_with(rules, mod):
    chosen = {}
    mod = mod.clone()
    for gvar, func in list(mod.functions.items()):
        if isinstance(func, tirx.PrimFunc):
            scheduled = apply_first(rules, func, TARGET)
            mod.update_func(gvar, scheduled.func)
            if KERNEL in func.attrs:
                chosen[gvar.name_hint] = scheduled.rule
    return mod, chosen


def test_it_computes_what_the_portable_rule_does(lowered):
    fast, chosen = schedule_with((*scalar.RULES, *portable.RULES), lowered)
    as_written, _ = schedule_with(portable.RULES, lowered)
    assert any("pool" in name and "conv" in name for name in chosen)
    assert set(chosen.values()) == {scalar.RULES[0].name}
    x = [random_floats(0, *SHAPE)]
    assert_same(run(as_written, x, HOST), run(fast, x, HOST))


def test_it_needs_memory_for_one_pixel(lowered):
    fast, _ = schedule_with((*scalar.RULES, *portable.RULES), lowered)
    as_written, _ = schedule_with(portable.RULES, lowered)
    small, large = (
        sum(kernel.workspace for kernel in lower_kernels(mod, TARGET).values())
        for mod in (fast, as_written)
    )
    assert small * 20 < large


def test_it_leaves_processors_with_vectors_alone(lowered):
    (func, *_) = [f for f in lowered.functions.values() if isinstance(f, tirx.PrimFunc)]
    assert scalar.RULES[0].apply(func, get_target(HOST), by_hand) is None
