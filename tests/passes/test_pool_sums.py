"""Layers on bits average what they compute: the same numbers and bits from one kernel less."""

from __future__ import annotations

import numpy as np
import pytest
from bnn_tvm.schedules.rule import kernel_kind
from relax_harness import (
    TARGETS,
    assert_same,
    kernel_kinds,
    lower,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax

from bnn_tvm.build import schedule_module
from bnn_tvm.passes.lower_regions import KERNEL_OF_LAYER
from bnn_tvm.target import get_target

op = relax.op
SHAPE = (2, 64, 12, 8)
JOINED = ["bitserial_conv2d", "bitserial_conv2d"]
APART = ["avg_pool2d", *JOINED]


def layer(g, x, outputs=64):
    y = g.conv(g.sign(x), random_signs(1, outputs, 64, 3, 3), padding=1, name="conv")
    return g.affine(y, random_floats(2, outputs), random_floats(3, outputs))


def network(window=(2, 2), outputs=64, **options):
    """Two layers on bits behind one in float, and the average of the first with its shortcut."""

    def body(g, x):
        x = g.conv(x, random_floats(5, 64, 64, 1, 1) / 8)
        y = layer(g, x, outputs)
        y = g(op.add(y, x)) if outputs == 64 else y
        signs = g.conv(g.sign(y), random_signs(4, 32, outputs, 1, 1))
        options.setdefault("strides", window)
        return [signs, g(op.nn.avg_pool2d(y, window, **options))]

    return body


def check(body, target, shape=SHAPE):
    mod = module(body, shape)
    x = [random_floats(0, *shape)]
    assert_same(run(mod, x), run_lowered(mod, x, target), atol=2e-5)
    kinds = kernel_kinds(lower(mod, target))
    return [kind for kind in kinds if kind in APART]


@pytest.mark.parametrize("window", [(2, 2), (3, 2), (4, 1), (1, 2), (6, 8)], ids=str)
@pytest.mark.parametrize("target", TARGETS[:2])
def test_windows_side_by_side_are_averaged_in_the_kernel(window, target):
    assert check(network(window), target) == JOINED


@pytest.mark.parametrize("target", TARGETS[:2])
def test_without_readers_of_signs(target):
    def body(g, x):
        return g(op.nn.avg_pool2d(layer(g, x), (2, 2), (2, 2)))

    mod = module(body, SHAPE)
    assert check(body, target) == ["bitserial_conv2d"]
    kernels = [str(name) for name in lower(mod, target).attrs[KERNEL_OF_LAYER].values()]
    assert kernels.count("bitserial_conv2d_1") == 2  # the layer and its pooling


def test_the_rule_of_the_layer_schedules_it():
    target = get_target(TARGETS[0])
    scheduled = schedule_module(lower(module(network(), SHAPE)), target)
    rules = {k.rule for k in scheduled.kernels.values() if kernel_kind(k.func) in JOINED}
    assert rules == {"x86.register_tile"}


def test_averages_are_exact_where_the_sums_are():
    def body(g, x):
        dots = g.conv(g.sign(x), random_signs(1, 64, 64, 3, 3), padding=1)
        return [
            g(op.nn.avg_pool2d(dots, (2, 2), (2, 2))),
            g.conv(g.sign(dots), np.ones((1, 64, 1, 1), np.float32)),
        ]

    mod, x = module(body, SHAPE), [random_floats(0, *SHAPE)]
    assert_same(run(mod, x), run_lowered(mod, x, TARGETS[0]))


@pytest.mark.parametrize(
    "body",
    [
        network((3, 3), strides=(1, 1)),
        network((2, 2), padding=1),
        network((5, 2)),
        network((12, 8)),
        network(outputs=48),
    ],
    ids=["overlap", "padding", "rest", "all", "half a word"],
)
def test_other_windows_stay(body):
    assert check(body, TARGETS[0]) == APART


def test_what_is_read_elsewhere_stays():
    def body(g, x):
        y = layer(g, x)
        return [y, g(op.nn.avg_pool2d(y, (2, 2), (2, 2)))]

    assert check(body, TARGETS[0]) == ["avg_pool2d", "bitserial_conv2d"]


@pytest.mark.parametrize("numbers", [False, True])
def test_signs_of_averages_stay(numbers):
    def body(g, x):
        y = g(op.nn.avg_pool2d(layer(g, x), (2, 2), (2, 2)))
        signs = g.conv(g.sign(y), random_signs(4, 32, 64, 1, 1))
        return [signs, g(op.negative(y))] if numbers else signs

    assert check(body, TARGETS[0]) == APART


def test_targets_without_such_a_schedule():
    assert check(network(), TARGETS[2]) == APART
