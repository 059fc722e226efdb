"""Stems pool their rows themselves: the same numbers and bits from one kernel less."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import (
    TARGETS,
    kernel_kinds,
    lower,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax

from bnn_tvm.passes.lower_regions import KERNEL_OF_LAYER

op = relax.op
IMAGE = (2, 3, 48, 64)
POOLINGS = [
    {"pool_size": (3, 3), "strides": (2, 2), "padding": 1},
    {"pool_size": (2, 2), "strides": (2, 2)},
    {"pool_size": (3, 2), "strides": (3, 1), "padding": (1, 0, 1, 0)},
    {"pool_size": (5, 3), "strides": (2, 2), "padding": (2, 1, 2, 1), "ceil_mode": True},
    {"pool_size": (3, 3), "strides": (1, 1), "dilation": (2, 2)},
]


def stem(g, x):
    y = g.conv(x, random_floats(1, 64, 3, 7, 7), strides=(2, 2), padding=3, name="conv")
    return g.affine(y, random_floats(2, 64), random_floats(3, 64))


def network(**pooling):
    def body(g, x):
        pooled = g(op.nn.max_pool2d(stem(g, x), **pooling))
        return g.affine(g(op.nn.relu(pooled)), random_floats(4, 64), random_floats(5, 64))

    return body


def check(mod, target):
    x = random_floats(0, *IMAGE)
    for found, expected in zip(run_lowered(mod, [x], target), run(mod, [x]), strict=True):
        np.testing.assert_allclose(found, expected, atol=3e-4)


@pytest.mark.parametrize("target", TARGETS[:2])
@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
def test_a_stem_and_its_pooling_become_one_kernel(pooling, target):
    mod = module(network(**pooling), IMAGE)
    lowered = lower(mod, target)
    assert kernel_kinds(lowered) == ["conv2d"]
    assert set(map(str, lowered.attrs[KERNEL_OF_LAYER].values())) == {"conv2d_1"}
    check(mod, target)


@pytest.mark.parametrize("target", TARGETS[:2])
def test_numbers_and_signs_of_pooled_rows(target):
    def body(g, x):
        pooled = network(**POOLINGS[0])(g, x)
        signs = g.sign(pooled)
        return [pooled, signs, g.conv(signs, random_signs(6, 32, 64, 1, 1))]

    mod = module(body, IMAGE)
    assert kernel_kinds(lower(mod, target)) == ["bitserial_conv2d", "conv2d"]
    x = random_floats(0, *IMAGE)
    numbers, signs, dots = run_lowered(mod, [x], target)
    expected, expected_signs, _ = run(mod, [x])
    np.testing.assert_allclose(numbers, expected, atol=3e-4)
    is_sure = np.abs(expected) > 1e-3
    np.testing.assert_array_equal(signs[is_sure], expected_signs[is_sure])
    weight = random_signs(6, 32, 64, 1, 1)[:, :, 0, 0]
    np.testing.assert_array_equal(dots, np.einsum("nchw,oc->nohw", signs, weight))


def leaves_alone(body, target=TARGETS[0], shape=IMAGE):
    return "max_pool2d" in kernel_kinds(lower(module(body, shape), target))


def test_what_is_read_elsewhere_stays():
    def body(g, x):
        y = stem(g, x)
        return [y, g(op.nn.max_pool2d(y, **POOLINGS[0]))]

    assert leaves_alone(body)


def test_numbers_of_each_place_stay_in_their_rows():
    def body(g, x):
        y = g(op.add(stem(g, x), relax.const(random_floats(7, 1, 64, 24, 32))))
        return g(op.nn.max_pool2d(y, **POOLINGS[0]))

    assert leaves_alone(body)


def test_numbers_of_as_many_rows_as_channels_are_not_those_of_channels():
    def body(g, x):
        y = g(op.add(stem(g, x), relax.const(random_floats(7, 1, 1, 64, 1))))
        return g(op.nn.max_pool2d(y, **POOLINGS[0]))

    assert leaves_alone(body, shape=(1, 3, 128, 64))


def test_other_stems_and_targets_keep_their_pooling():
    assert leaves_alone(network(**POOLINGS[0]), "x86-64")
    assert leaves_alone(network(**POOLINGS[0]), "cortex-a53")
    # Rows of 30 results are not filtered.
    assert leaves_alone(network(**POOLINGS[0]), shape=(1, 3, 48, 60))
