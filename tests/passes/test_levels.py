"""Which tensors are proven to hold few levels, and which look like it and are not."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import module, random_floats
from tvm import relax

from bnn_tvm.passes.dataflow import main_bindings, main_result
from bnn_tvm.passes.levels import (
    MAX_BITS,
    SIGNS,
    Levels,
    activation_levels,
    holds_signs,
    weight_levels,
)

op = relax.op
SHAPE = (2, 4, 6, 5)
EVERY = [Levels(bits, signed) for bits in range(1, MAX_BITS + 1) for signed in (False, True)]


def lookup_in(mod):
    values = {binding.var: binding.value for binding in main_bindings(mod)}
    return lambda expr: values.get(expr) if isinstance(expr, relax.Var) else None


def levels_of(body, *shapes):
    """Prove the levels of what a body returns."""
    mod = module(body, *(shapes or (SHAPE,)))
    (result,) = main_result(mod)
    return activation_levels(result, lookup_in(mod))


@pytest.mark.parametrize("levels", EVERY)
def test_values_and_indices_belong_together(levels):
    index = np.arange(levels.top + 1)
    values = levels.values(index)
    assert values[0] == levels.lowest and values[-1] == 1 and len(values) == 2**levels.bits
    np.testing.assert_array_equal(levels.index(values.astype(np.float32)), index)


@pytest.mark.parametrize("bits", range(1, MAX_BITS + 1))
def test_weights_have_the_fewest_bits_that_hold_them(bits):
    levels = Levels(bits, True)
    weight = levels.values(np.arange(2**bits)).astype(np.float32)
    assert weight_levels(weight.reshape(2, -1)) == levels
    assert weight_levels(weight[[0, -1]]) == SIGNS


@pytest.mark.parametrize(
    "values", [(0.0,), (-1.0, 0.0, 1.0), (2.0,), (np.nan,), (np.inf,), (1.0, 0.3333)]
)
def test_other_weights_have_no_levels(values):
    assert weight_levels(np.array(values, np.float32)) is None


def test_zero_is_between_the_levels_of_every_width():
    assert all(0 not in levels.values(np.arange(levels.top + 1)) for levels in EVERY[1::2])


@pytest.mark.parametrize("levels", EVERY)
def test_quantized_tensors_are_recognized(levels):
    assert levels_of(lambda g, x: g.quantize(x, levels.bits, levels.signed)) == levels


def rounded(g, x, scale=3.0, divisor=3.0, low=None):
    """Compute round(x scale) / divisor, with x cut off at `low` and 1 if that is given."""
    y = g(op.clip(x, low, 1)) if low is not None else x
    y = g(op.multiply(y, relax.const(scale)))
    whole = g(op.trunc(y))
    rest = g(op.abs(g(op.subtract(y, whole))))
    away = g(op.greater_equal(rest, relax.const(0.5)))
    step = g(op.where(away, g(op.sign(y)), relax.const(0.0)))
    return g(op.divide(g(op.add(whole, step)), relax.const(divisor)))


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"low": 0.0}, Levels(2, False)),
        ({}, None),
        ({"low": -1.0}, None),
        ({"low": 0.0, "divisor": 7.0}, None),
        ({"low": 0.0, "scale": 2.0, "divisor": 2.0}, None),
        ({"low": 0.0, "scale": 511.0, "divisor": 511.0}, None),
    ],
)
def test_rounding_alone_is_no_proof(options, expected):
    assert levels_of(lambda g, x: rounded(g, x, **options)) == expected


def dorefa(g, x, magnitude_of=None):
    """Quantize x / max|x| / 2 + 1/2, as DoReFa does with tanh(x)."""
    of = x if magnitude_of is None else magnitude_of
    largest = g(op.reshape(g(op.max(g(op.abs(of)))), (1,)))
    half = g(op.multiply(g(op.divide(x, largest)), relax.const(0.5)))
    unit = rounded(g, g(op.add(half, relax.const(0.5))))
    doubled = g(op.multiply(unit, relax.const(2.0)))
    return g(op.subtract(doubled, relax.const(1.0)))


def test_dorefa_is_recognized_by_its_own_largest_magnitude():
    assert levels_of(dorefa) == Levels(2, True)
    assert levels_of(dorefa, SHAPE, SHAPE) is None


def test_truncating_is_not_rounding():
    def body(g, x):
        y = g(op.trunc(g(op.multiply(g(op.clip(x, 0, 1)), relax.const(3.0)))))
        return g(op.divide(y, relax.const(3.0)))

    assert levels_of(body) is None


@pytest.mark.parametrize("bits", (1, 3))
def test_levels_pass_what_only_moves_data(bits):
    def body(g, x):
        q = g.quantize(x, bits)
        pooled = g(op.nn.max_pool2d(q, (3, 3), (1, 1), (1, 1, 1, 1)))
        both = g(op.concat([g(op.permute_dims(q, (0, 1, 2, 3))), pooled], 1))
        return g(op.reshape(g(op.strided_slice(both, [1], [1], [5])), (2, 120)))

    assert levels_of(body) == Levels(bits, False)


def test_different_levels_together_have_none():
    assert levels_of(lambda g, x: g(op.concat([g.quantize(x, 1), g.sign(x)], 1))) is None
    assert levels_of(lambda g, x: g(op.concat([g.sign(x), x], 1))) is None


@pytest.mark.parametrize("value, expected", [(-1.0, SIGNS), (1.0, SIGNS), (0.0, None)])
def test_a_border_keeps_signs_if_it_is_of_signs(value, expected):
    assert levels_of(lambda g, x: g.pad(g.sign(x), 1, value)) == expected


def test_a_border_is_no_level_of_other_tensors():
    assert levels_of(lambda g, x: g.pad(g.quantize(x, 2), 1, -1.0)) is None


def test_constants_signs_and_inputs():
    signs = relax.const(np.array([-1.0, 1.0], np.float32))
    lookup = lookup_in(module(lambda g, x: g.sign(x), SHAPE))
    assert holds_signs(signs, lookup)
    assert not holds_signs(relax.const(random_floats(0, 4)), lookup)
    assert levels_of(lambda g, x: x) is None
    assert levels_of(lambda g, x: g.sign(x)) == SIGNS
