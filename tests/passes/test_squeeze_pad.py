"""Signals that were padded as images of one row are padded as signals."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import assert_same, module, operators, random_floats, run
from tvm import relax

from bnn_tvm.passes.squeeze_pad import squeeze_pad

op = relax.op
SHAPE = (2, 3, 7)


def padded(expand, widths, squeeze, value=-1.0):
    def body(g, x):
        return squeeze(g, g(op.nn.pad(expand(g, x), widths, pad_value=value)))

    return body


def reshape(*shape):
    return lambda g, x: g(op.reshape(x, shape))


def run_both(body):
    before = module(body, SHAPE)
    after = squeeze_pad(before)
    x = random_floats(1, *SHAPE)
    first, second = run(before, [x]), run(after, [x])
    assert_same(first, second)
    return operators(after), second[0]


def expand_dims(g, x):
    return g(op.expand_dims(x, 2))


def squeeze(g, x):
    return g(op.squeeze(x, [2]))


@pytest.mark.parametrize("value", (-1.0, 0.0))
@pytest.mark.parametrize(
    "expand, back", [(expand_dims, squeeze), (reshape(2, 3, 1, 7), reshape(2, 3, 10))]
)
def test_one_pad_is_left(expand, back, value):
    found, y = run_both(padded(expand, [0, 0, 0, 0, 0, 0, 1, 2], back, value))
    assert found == ["nn.pad"]
    assert np.all(y[..., 0] == value) and np.all(y[..., -2:] == value)


@pytest.mark.parametrize(
    "expand, widths, back",
    [
        # The row is padded too.
        (reshape(2, 3, 1, 7), [0, 0, 0, 0, 1, 0, 1, 2], reshape(2, 3, 20)),
        # The reshape does more than to add an axis.
        (reshape(2, 1, 7, 3), [0, 0, 0, 0, 0, 0, 1, 2], reshape(2, 7, 6)),
        # The axes are other ones afterwards.
        (reshape(2, 3, 1, 7), [0, 0, 0, 0, 0, 0, 1, 2], reshape(3, 2, 10)),
    ],
)
def test_other_reshapes_stay(expand, widths, back):
    found, _ = run_both(padded(expand, widths, back))
    assert found == ["reshape", "nn.pad", "reshape"]


def test_a_pad_alone_stays():
    found, _ = run_both(lambda g, x: g(op.reshape(g(op.nn.pad(x, [0] * 5 + [1])), (6, 8))))
    assert found == ["nn.pad", "reshape"]
