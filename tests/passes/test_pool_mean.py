"""Means over whole images become poolings; other means stay."""

from __future__ import annotations

import pytest
from relax_harness import assert_same, module, operators, random_floats, run
from tvm import relax

from bnn_tvm.passes.pool_mean import pool_mean

op = relax.op
SHAPES = {1: (2, 3, 7), 2: (2, 3, 5, 4), 3: (2, 3, 2, 3, 4)}


def rewritten(shape, **options):
    """Check that both modules run alike, and list the operators that are left."""
    before = module(lambda g, x: g(op.mean(x, **options)), shape)
    after = pool_mean(before)
    x = random_floats(1, *shape)
    assert_same(run(before, [x]), run(after, [x]), atol=1e-6)
    return operators(after)


@pytest.mark.parametrize("dimensions", SHAPES)
def test_the_mean_over_all_positions_is_a_pooling(dimensions):
    shape, pool = SHAPES[dimensions], f"nn.avg_pool{dimensions}d"
    axes = list(range(2, 2 + dimensions))
    assert rewritten(shape, axis=axes, keepdims=True) == [pool]
    assert rewritten(shape, axis=axes) == [pool, "reshape"]
    assert rewritten(shape, axis=[axis - len(shape) for axis in axes], keepdims=True) == [pool]


@pytest.mark.parametrize("axis", [None, [1], [2], [0, 2, 3], [1, 2, 3]])
def test_other_means_stay(axis):
    assert rewritten(SHAPES[2], axis=axis) == ["mean"]


def test_other_reductions_stay():
    after = pool_mean(module(lambda g, x: g(op.sum(x, axis=[2, 3])), SHAPES[2]))
    assert operators(after) == ["sum"]
