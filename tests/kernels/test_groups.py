"""Grouped convolutions: what each block of outputs reads, and whole layers against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_harness import (
    TARGETS,
    kernel_kinds,
    lower,
    module,
    random_floats,
    random_signs,
    run_lowered,
)
from tvm import tirx

from bnn_tvm import reference
from bnn_tvm.kernels.groups import GroupPlan, in_channels, plan_groups, spread_groups

SETTINGS = settings(max_examples=200, deadline=None, derandomize=True)
LANES = st.sampled_from((1, 4, 8, 16))
COUNT = st.integers(1, 12)


@SETTINGS
@given(COUNT, COUNT, COUNT, LANES, st.sampled_from((1, 8, 32)))
def test_a_block_reads_the_channels_of_all_its_outputs(groups, inside, outside, lanes, unit):
    inputs, outputs = groups * inside, groups * outside
    plan = plan_groups(outputs, inputs, groups, lanes, unit)
    for output in range(outputs):
        first = plan.first(output // lanes, -(-outputs // lanes)) * unit
        group = output // outside
        assert first <= group * inside
        assert (group + 1) * inside <= first + plan.size * unit
        assert first + plan.size * unit < inputs + unit


@SETTINGS
@given(COUNT, COUNT, COUNT, LANES)
def test_spread_weights_do_what_the_groups_do(groups, inside, outside, lanes):
    inputs, outputs = groups * inside, groups * outside
    plan = plan_groups(outputs, inputs, groups, lanes)
    weight = np.arange(1, outputs * inside + 1).reshape(outputs, inside)
    spread = spread_groups(weight, groups, plan, lanes)
    for output in range(outputs):
        everything = np.zeros(inputs, weight.dtype)
        first = plan.first(output // lanes, -(-outputs // lanes))
        everything[first : first + plan.size] = spread[output]
        start = output // outside * inside
        np.testing.assert_array_equal(everything[start : start + inside], weight[output])
        assert np.count_nonzero(everything) == inside


@pytest.mark.parametrize(
    "outputs, inputs, groups, unit, expected",
    [
        (64, 64, 1, 32, GroupPlan(0, 1, 2)),
        (64, 64, 2, 32, GroupPlan(1, 4, 1, 2)),
        (64, 256, 2, 32, GroupPlan(4, 4, 4, 2)),
        # The groups of a block read whole words together.
        (16, 128, 16, 32, GroupPlan(2, 1, 2, 2)),
        (16, 32, 8, 8, GroupPlan(2, 1, 2, 2)),
        # Groups that do not begin at a word, or that cut blocks.
        (64, 40, 2, 32, GroupPlan(0, 1, 2)),
        (12, 64, 2, 32, GroupPlan(0, 1, 2)),
    ],
)
def test_plans_in_words(outputs, inputs, groups, unit, expected):
    assert plan_groups(outputs, inputs, groups, 8, unit) == expected


def test_blocks_that_only_fill_up_read_no_further_than_the_others():
    plan = plan_groups(4, 8, 4, lanes=4)
    assert [int(plan.first(tirx.const(block), 3)) for block in range(3)] == [0, 0, 0]


def test_a_plan_in_channels():
    assert in_channels(GroupPlan(2, 4, 2, 4), 32, 256) == GroupPlan(64, 4, 64, 4)
    assert in_channels(GroupPlan(0, 1, 2), 32, 40) == GroupPlan(0, 1, 40)


# Channels of a group that are whole words, parts of words and single channels.
LAYERS = [(64, 64, 2), (18, 96, 3), (10, 20, 5), (24, 24, 24), (33, 66, 33), (128, 128, 4)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("binary", (True, False))
def test_grouped_convolutions(binary, target):
    """Several layers in one module, each on channels of its own."""
    draw = random_signs if binary else random_floats
    weights = [draw(i, o, c // g, 3, 2) for i, (o, c, g) in enumerate(LAYERS)]

    def body(g, *inputs):
        data = [g.sign(x) if binary else x for x in inputs]
        return [
            g.conv(x, w, groups=n, strides=(1, 2), padding=(0, 0, 0, 0))
            for x, w, (_, _, n) in zip(data, weights, LAYERS, strict=True)
        ]

    arrays = [random_floats(i, 1, c, 4, 5) for i, (_, c, _) in enumerate(LAYERS)]
    mod = module(body, *(array.shape for array in arrays))
    assert ("bitserial_conv2d" in kernel_kinds(lower(mod, target))) == binary
    results = run_lowered(mod, arrays, target)
    for x, w, (_, _, groups), y in zip(arrays, weights, LAYERS, results, strict=True):
        data = reference.det_sign(x) if binary else x
        expected = reference.conv2d(
            data.transpose(0, 2, 3, 1), w.transpose(0, 2, 3, 1), (1, 2), groups=groups
        )
        np.testing.assert_allclose(y.transpose(0, 2, 3, 1), expected, atol=0 if binary else 1e-4)
