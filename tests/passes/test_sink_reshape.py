"""Elementwise operations move before reshapes; what reads other shapes stays."""

from __future__ import annotations

import pytest
from relax_harness import assert_same, module, operators, random_floats, run
from tvm import relax

from bnn_tvm.passes.sink_reshape import sink_reshape

op = relax.op
SHAPE = (2, 3, 4, 5)


def flat(g, x):
    return g(op.reshape(x, (2, 60)))


def assert_rewritten(body, expected, *shapes):
    shapes = shapes or (SHAPE,)
    before = module(body, *shapes)
    after = sink_reshape(before)
    assert operators(after) == expected
    inputs = [random_floats(i, *shape) for i, shape in enumerate(shapes)]
    assert_same(run(before, inputs), run(after, inputs))


def test_a_sign_is_taken_before_flattening():
    assert_rewritten(lambda g, x: g.sign(flat(g, x)), ["less", "where", "reshape"])


def test_a_chain_with_numbers_moves_as_a_whole():
    def body(g, x):
        y = g(op.multiply(flat(g, x), relax.const(2.0)))
        return g(op.clip(g(op.add(relax.const(0.5), y)), 0, 1))

    assert_rewritten(body, ["multiply", "add", "clip", "reshape"])


def test_operands_that_are_reshaped_alike_move_together():
    def body(g, x, y):
        return g(op.add(flat(g, x), flat(g, y)))

    assert_rewritten(body, ["add", "reshape"], SHAPE, SHAPE)


def test_an_operand_that_is_read_twice_moves():
    def body(g, x):
        y = flat(g, x)
        return g(op.multiply(y, y))

    assert_rewritten(body, ["multiply", "reshape"])


@pytest.mark.parametrize("shape", [(2, 3, 20), (2, 4, 3, 5)])
def test_operands_of_other_shapes_stay(shape):
    def body(g, x, y):
        return g(op.add(flat(g, x), flat(g, y)))

    assert_rewritten(body, ["reshape", "reshape", "add"], SHAPE, shape)


def test_what_also_reads_other_data_stays():
    def with_constant(g, x):
        return g(op.add(flat(g, x), relax.const(random_floats(3, 60))))

    def with_input(g, x, y):
        return g(op.add(flat(g, x), y))

    assert_rewritten(with_constant, ["reshape", "add"])
    assert_rewritten(with_input, ["reshape", "add"], SHAPE, (2, 60))


def test_what_is_not_elementwise_stays():
    assert_rewritten(lambda g, x: g(op.sum(flat(g, x), axis=[1])), ["reshape", "sum"])
