"""Whole numbers behind layers on bits: computed as such where, and only where, nothing rounds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_harness import (
    TARGETS,
    kernels_of_kind,
    lower,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax, tirx

from bnn_tvm.kernels.integers import Integers
from bnn_tvm.passes.exact_numbers import ExactNumbers

op = relax.op
OUTPUTS = 32


def numbers(slope, base, largest=1000):
    return ExactNumbers(Integers(lambda count: count, slope, base), largest)


def evaluate(exact, count):
    value = exact.numbers(tirx.const(count, "int32"))
    return value.value if isinstance(value, tirx.IntImm) else value


def test_sums_and_products_of_whole_numbers():
    exact = numbers(-2, 576).plus(Fraction(576)).times(Fraction(1, 2))
    assert [evaluate(exact, count) for count in (0, 1, 576)] == [576, 575, 0]
    assert exact.largest == (1000 + 576) / 2


@pytest.mark.parametrize("factor", (Fraction(1, 4), Fraction(1, 3), Fraction(0), Fraction(-1)))
def test_factors_that_give_fractions_or_a_zero_below_0_are_left(factor):
    assert numbers(-2, 576).times(factor) is None


def test_fractions_and_numbers_beyond_float32_are_left():
    assert numbers(-2, 576).plus(Fraction(1, 2)) is None
    assert numbers(-2, 577).times(Fraction(1, 2)) is None
    assert numbers(1, 0, largest=1 << 24).plus(Fraction(0)) is not None
    assert numbers(1, 0, largest=1 << 24).plus(Fraction(1)) is None
    assert numbers(1, 0, largest=1 << 23).times(Fraction(3)) is None


def offset(g, x, channels, constants):
    """A layer with operations behind it, each with a number."""
    y = g.conv(g.pad(g.sign(x), 1, -1.0), random_signs(1, OUTPUTS, channels, 3, 3))
    for name, number in constants:
        y = g(getattr(op, name)(y, relax.const(np.float32(number))))
    return g.affine(y, random_floats(2, OUTPUTS), random_floats(3, OUTPUTS))


CONSTANTS = st.lists(
    st.tuples(
        st.sampled_from(("add", "subtract", "multiply", "divide")),
        st.sampled_from((1, 2, 0.5, 3, 576, 9 * 40, 0.25, -1, 1.7, 2.0**22)),
    ),
    max_size=4,
)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.sampled_from((8, 33, 64)), CONSTANTS, st.sampled_from(TARGETS))
def test_kernels_give_the_bits_of_the_float_operations(channels, constants, target):
    mod = module(lambda g, x: offset(g, x, channels, constants), (1, channels, 4, 5))
    x = random_floats(0, 1, channels, 4, 5)
    (expected,), (found,) = run(mod, [x]), run_lowered(mod, [x], target)
    # An affine map may be one instruction in one and two in the other.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def result_of(constants, channels=64):
    mod = lower(module(lambda g, x: offset(g, x, channels, constants), (1, channels, 4, 5)))
    (layer,) = kernels_of_kind(mod, "bitserial_conv2d")
    (text,) = [line for line in layer.script().splitlines() if line.strip().startswith("result[")]
    return text


def test_an_offset_leaves_no_operations():
    plain, with_offset = result_of([]), result_of([("add", 576), ("divide", 2)])
    assert len(with_offset) < len(plain)
    assert "0.5" not in with_offset and "576" not in with_offset
    assert "1.7" in result_of([("add", 1.7)])
