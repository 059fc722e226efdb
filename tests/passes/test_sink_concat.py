"""Concatenations sink below what keeps channels apart; what mixes them stays after them."""

from __future__ import annotations

import numpy as np
import pytest
from bnn_tvm.schedules import RULES
from bnn_tvm.schedules.rule import apply_first
from relax_harness import (
    TARGETS,
    assert_same,
    kernel_kinds,
    lower,
    module,
    operators,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax, tirx

from bnn_tvm.kernels.stages import KERNEL
from bnn_tvm.passes.sink_concat import sink_concat
from bnn_tvm.target import get_target

op = relax.op
LEFT, RIGHT = (2, 4, 5, 3), (2, 4, 5, 6)


def vector(seed):
    return relax.const(random_floats(seed, 9))


def joined(g, x, y):
    return g(op.concat([x, y], -1))


def assert_rewritten(body, expected, *shapes):
    shapes = shapes or (LEFT, RIGHT)
    before = module(body, *shapes)
    after = sink_concat(before)
    assert operators(after) == expected
    inputs = [random_floats(i, *shape) for i, shape in enumerate(shapes)]
    assert_same(run(before, inputs), run(after, inputs))


def test_a_batch_norm_and_sign_are_computed_in_pieces():
    def body(g, x, y):
        scaled = g(op.multiply(joined(g, x, y), vector(1)))
        return g.sign(g(op.subtract(scaled, vector(2))))

    each = [name for name in ("multiply", "subtract", "less", "where") for _ in range(2)]
    assert_rewritten(body, [*each, "concat"])


def test_pools_are_computed_in_pieces():
    def body(g, x, y):
        return g(op.nn.max_pool2d(joined(g, x, y), (2, 2), layout="NHWC"))

    assert_rewritten(body, ["nn.max_pool2d", "nn.max_pool2d", "concat"])


def test_concatenations_of_concatenations_become_one():
    assert_rewritten(lambda g, x, y: joined(g, joined(g, x, y), x), ["concat"])


def test_operands_that_are_divided_alike_are_added_in_pieces():
    def body(g, x, y):
        return g(op.add(joined(g, x, y), joined(g, g(op.nn.relu(x)), y)))

    assert_rewritten(body, ["nn.relu", "add", "add", "concat"])


@pytest.mark.parametrize(
    "begin, end, expected",
    [
        (3, 9, []),
        (-6, 2**31 - 1, []),
        (0, 3, []),
        (4, 8, ["strided_slice"]),
        (1, 9, ["strided_slice", "concat"]),
        (1, 5, ["strided_slice", "strided_slice", "concat"]),
    ],
)
def test_a_slice_takes_the_pieces_that_it_covers(begin, end, expected):
    def body(g, x, y):
        return g(op.nn.relu(g(op.strided_slice(joined(g, x, y), [3], [begin], [end]))))

    pieces = 2 if "concat" in expected else 1
    cuts = [name for name in expected if name != "concat"]
    assert_rewritten(body, [*cuts, *["nn.relu"] * pieces, *expected[len(cuts) :]])


def strided(g, x, y):
    return g(op.strided_slice(joined(g, x, y), [3], [0], [9], [2]))


def along_rows(g, x, y):
    return g(op.nn.relu(g(op.concat([x, x], 1))))


def with_another_tensor(g, x, y):
    whole = joined(g, x, y)
    return g(op.add(whole, g(op.nn.avg_pool2d(whole, (1, 1), layout="NHWC"))))


def with_a_number_of_its_own(g, x, y):
    whole = joined(g, x, y)
    return g(op.divide(whole, g(op.max(whole, keepdims=True))))


@pytest.mark.parametrize(
    "body, expected",
    [
        (with_a_number_of_its_own, ["concat", "max", "divide"]),
        (strided, ["concat", "strided_slice"]),
        (along_rows, ["concat", "nn.relu"]),
        (with_another_tensor, ["nn.avg_pool2d", "nn.avg_pool2d", "add", "add", "concat"]),
    ],
)
def test_the_rest(body, expected):
    assert_rewritten(body, expected)


def test_differently_divided_operands_stay():
    def body(g, x, y):
        return g(op.add(joined(g, x, y), joined(g, y, x)))

    assert_rewritten(body, ["concat", "concat", "add"])


def dense_block(g, x):
    """Two layers that append 32 channels, then one that improves the newest: NCHW, as imported."""
    stem = g.conv(x, random_floats(1, 64, 3, 1, 1))
    for layer in range(2):
        channels = int(stem.ty.shape[1])
        shift = random_floats(layer, channels)
        signs = g.sign(g.affine(stem, random_floats(9 + layer, channels), shift))
        weight = random_signs(layer, 32, channels, 3, 3)
        stem = g(op.concat([stem, g.conv(g.pad(signs, 1, -1.0), weight)], 1))
    signs = g.sign(g.affine(stem, random_floats(5, 128), random_floats(6, 128)))
    improved = g.conv(g.pad(signs, 1, -1.0), random_signs(7, 32, 128, 3, 3))
    old = g(op.strided_slice(stem, [1], [0], [96]))
    new = g(op.strided_slice(stem, [1], [96], [2**31 - 1]))
    stem = g(op.concat([old, g(op.add(new, improved))], 1))
    pooled = g(op.nn.max_pool2d(stem, (2, 2), strides=(2, 2)))
    return g.conv(pooled, random_floats(8, 16, 128, 1, 1))


SHAPE = (1, 3, 8, 8)


@pytest.mark.parametrize("target", TARGETS)
def test_a_dense_block_computes_the_same(target):
    mod, x = module(dense_block, SHAPE), random_floats(3, *SHAPE)
    assert_same(run(mod, [x]), run_lowered(mod, [x], target), atol=1e-4)


def test_a_dense_block_needs_no_pass_over_its_numbers():
    lowered = lower(module(dense_block, SHAPE), TARGETS[0])
    assert not {"elementwise", "bitpack"} & set(kernel_kinds(lowered))
    assert operators(lowered).count("strided_slice") == 0
    floats = [name for name in operators(lowered) if name == "concat"]
    assert len(floats) == 3  # the words of two layers, and the pooled numbers


@pytest.mark.parametrize("target", TARGETS[:2])
def test_kernels_of_many_outputs_are_scheduled_by_hand(target):
    lowered = lower(module(dense_block, SHAPE), target)
    kernels = [f for f in lowered.functions.values() if isinstance(f, tirx.PrimFunc)]
    layers = [f for f in kernels if str(f.attrs[KERNEL]).startswith(("conv", "bitserial"))]
    outputs = [int(np.int64(f.attrs["bnn.num_outputs"])) for f in layers]
    assert max(outputs) >= 4
    assert {apply_first(RULES, f, get_target(target)).source for f in layers} == {"hand"}
