"""Whole numbers as a base and a slope of what is counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from bnn_tvm.kernels.integers import Integers

NUMBERS = st.integers(-1000, 1000)


def value(numbers: Integers, index: int) -> int:
    return int(numbers(tirx.const(index, "int32")))


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_arithmetic_is_that_of_whole_numbers(count, slope, base, number):
    numbers = Integers(lambda index: index, slope, base)
    plain = base + slope * count
    assert value(numbers, count) == plain
    assert value(numbers.plus(number), count) == plain + number
    assert value(numbers.times(number), count) == plain * number


def test_another_index_reads_the_same_numbers():
    numbers = Integers(lambda block, lane: block * 16 + lane, -1, 5)
    seen = numbers.seen_as(lambda count: lambda index: count(index // 16, index % 16))
    assert value(seen, 37) == 5 - 37
