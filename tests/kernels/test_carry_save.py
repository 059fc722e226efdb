"""Counting words two at a time, in scalars and in vectors of every width with such logic."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te
from tvm.s_tir import Schedule

from bnn_tvm.kernels.carry_save import carry_of, count_pairs, start_pairs
from bnn_tvm.target import get_target

TARGET = "x86-64-vpopcntdq"


def count_kernel(rows: int, places: int, words: int) -> tvm.tirx.PrimFunc:
    """Count the bits of (places, words, rows) along its first two axes."""
    data = te.placeholder((places, words, rows), "uint32", "data")
    count = count_pairs(
        (rows,), (places, words), lambda index, k: data(*k, *index), "uint32", "sums"
    )
    return te.create_prim_func([data, te.compute((rows,), count, name="result")])


def build(func: tvm.tirx.PrimFunc, lanes: int) -> tvm.runtime.Executable:
    """Sum as many rows at a time as a vector has lanes."""
    sch = Schedule(func)
    sums = sch.get_sblock("sums")
    row, *inner = sch.get_loops(sums)
    sch.reorder(*inner, row)
    if lanes > 1:
        sch.vectorize(sch.split(row, [None, lanes])[1])
    sch.decompose_reduction(sums, inner[0])
    return tvm.compile(sch.mod, get_target(TARGET).to_tvm())


def run(executable: tvm.runtime.Executable, data: np.ndarray) -> np.ndarray:
    result = tvm.runtime.empty((data.shape[-1],), "int32")
    executable["main"](tvm.runtime.tensor(data), result)
    return result.numpy()


def count_bits(data: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(np.ascontiguousarray(data).view(np.uint8).reshape(*data.shape, 4), axis=-1)
    return bits.sum((0, 1, 3), dtype=np.int32)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    places=st.integers(1, 3),
    pairs=st.integers(1, 5),
    lanes=st.sampled_from((1, 2, 4, 8, 16)),
    seed=st.integers(0, 99),
)
def test_every_bit_is_counted(places, pairs, lanes, seed):
    words = np.random.default_rng(seed).integers(0, 2**32, (places, 2 * pairs, 16), np.uint32)
    executable = build(count_kernel(16, places, 2 * pairs), lanes)
    np.testing.assert_array_equal(run(executable, words), count_bits(words))


@pytest.mark.parametrize("word", (0, 2**32 - 1, 2**31))
def test_extreme_words(word):
    words = np.full((3, 4, 16), word, np.uint32)
    executable = build(count_kernel(16, 3, 4), 16)
    np.testing.assert_array_equal(run(executable, words), count_bits(words))


def test_states_that_counting_starts_from_stand_for_ones():
    ones, bits = np.arange(65), 64
    parity, rest = start_pairs(ones, bits)
    assert set(parity) == {0, 1}
    np.testing.assert_array_equal(2 * rest - parity, bits - ones)


def test_a_step_carries_where_three_bits_hold_two_ones():
    for sum_bit, first, second in itertools.product((0, 1), repeat=3):
        middle = sum_bit ^ first
        carry = carry_of(sum_bit, middle, middle ^ second) & 1
        assert carry == (sum_bit + first + second) // 2


@pytest.mark.parametrize("lanes, register", [(4, "xmm"), (8, "ymm"), (16, "zmm")])
def test_vectors_take_one_instruction_for_a_carry(lanes, register):
    executable = build(count_kernel(16, 2, 4), lanes)
    lines = [
        line for line in executable.mod.inspect_source("asm").splitlines() if "vpternlog" in line
    ]
    assert any(register in line for line in lines)
