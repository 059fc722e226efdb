"""Schedules change no number: the hand rules against the portable one, on every target."""

from __future__ import annotations

import numpy as np
import pytest
from bnn_tvm.schedules import RULES, portable, x86
from bnn_tvm.schedules.rule import apply_first
from relax_harness import (
    TARGETS,
    assert_same,
    lower,
    module,
    random_floats,
    random_signs,
    run,
)
from tvm import relax, tirx

from bnn_tvm.kernels.stages import KERNEL
from bnn_tvm.target import get_target

op = relax.op
SHAPE = (2, 8, 8, 8)


def network(g, x):
    """Every kind of kernel there is a hand rule for, with each kind of output."""
    y = g.conv(x, random_floats(1, 40, 8, 3, 3), padding=1)
    y = g(op.nn.max_pool2d(y, (2, 2), (2, 2)))
    dot = g.conv(g.pad(g.sign(y), 1, -1.0), random_signs(2, 40, 40, 3, 3))
    shortcut = g(op.add(g.affine(dot, random_floats(3, 40), random_floats(4, 40)), y))
    bits = g.conv(g.sign(shortcut), random_signs(5, 33, 40, 1, 1))
    bits = g.sign(g.affine(bits, random_floats(6, 33), random_floats(7, 33)))
    pooled = g(op.nn.max_pool2d(bits, (2, 2), (2, 2)))
    count = g.dense(g(op.reshape(pooled, (2, 132))), random_signs(8, 132, 20))
    mean = g(op.nn.avg_pool2d(shortcut, (4, 4), (4, 4)))
    scores = g.dense(g(op.reshape(mean, (2, 40))), random_floats(9, 40, 20))
    return [shortcut, g(op.add(count, scores))]


def schedule_with(rules, mod, target):
    """Schedule what has a hand rule; name the rule of each kind of kernel."""
    mod = relax.transform.LegalizeOps()(mod)
    chosen = {}
    for gvar, func in list(mod.functions.items()):
        if isinstance(func, tirx.PrimFunc):
            scheduled = apply_first(rules, func, get_target(target))
            mod.update_func(gvar, scheduled.func)
            if KERNEL in func.attrs:
                chosen.setdefault(str(func.attrs[KERNEL]), set()).add(scheduled.rule)
    return mod, chosen


@pytest.mark.parametrize("target", TARGETS)
def test_every_rule_computes_what_the_portable_one_does(target):
    lowered, x = lower(module(network, SHAPE), target), random_floats(0, *SHAPE)
    by_hand, _ = schedule_with(RULES, lowered, target)
    as_written, _ = schedule_with(portable.RULES, lowered, target)
    # Float sums may be divided into several; everything else is equal bit for bit.
    assert_same(run(as_written, [x], target), run(by_hand, [x], target), atol=1e-5)


@pytest.mark.parametrize("target", TARGETS[:2])
def test_vector_targets_schedule_layers_by_hand(target):
    _, chosen = schedule_with(RULES, lower(module(network, SHAPE), target), target)
    names = {rule.name for rule in x86.RULES}
    for kind in ("bitserial_conv2d", "bitserial_dense", "conv2d", "dense", "avg_pool2d"):
        assert chosen[kind] & names, kind


@pytest.mark.parametrize("widths", [(64, 32, 48), (5, 10), (3, 8)], ids=str)
@pytest.mark.parametrize("target", TARGETS[:2])
def test_concatenations_are_copied_by_vectors(widths, target):
    def joined(g, *pieces):
        return g(op.concat(list(pieces), axis=-1))

    shapes = [(1, 3, 4, width) for width in widths]
    pieces = [random_floats(seed, *shape) for seed, shape in enumerate(shapes)]
    mod = relax.transform.LegalizeOps()(module(joined, *shapes))
    (name,) = [g for g, func in mod.functions.items() if isinstance(func, tirx.PrimFunc)]
    scheduled = apply_first(RULES, mod[name], get_target(target))
    assert scheduled.rule == "x86.join"
    mod.update_func(name, scheduled.func)
    assert_same([np.concatenate(pieces, axis=-1)], run(mod, pieces, target))


def test_narrow_targets_get_the_portable_rule():
    _, chosen = schedule_with(RULES, lower(module(network, SHAPE), "x86-64"), "x86-64")
    assert set().union(*chosen.values()) == {rule.name for rule in portable.RULES}


def test_the_portable_rule_comes_last():
    assert RULES[-1] is portable.RULES[-1]
    assert all(rule.source in ("hand", "portable") for rule in RULES)
