"""Rows of floats are packed by their first bytes, and what these cannot tell apart is compared."""

from __future__ import annotations

import numpy as np
import pytest
from bnn_tvm.schedules import schedule_kernel
from emulated_harness import needs_emulator

from benchmarks.emulated.board import build_kernel
from benchmarks.emulated.kernels import Layer, packing
from bnn_tvm.reference import det_sign, pack_channels
from bnn_tvm.target import get_target

TARGET = "cortex-a53"
pytestmark = needs_emulator(TARGET)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    target = get_target(TARGET)
    scheduled = schedule_kernel(packing(Layer(4, 64), target), target)
    assert scheduled.rule == "arm.pack_rows"
    return build_kernel(scheduled.func, target, 1, tmp_path_factory.mktemp("packing"))


NEGATIVE_NAN = np.array(0xFFC00001, np.uint32).view(np.float32)
LARGEST = np.finfo(np.float32).max


@pytest.mark.parametrize(
    "special",
    [1.0, 0.0, -0.0, 1e-45, -1e-45, np.inf, -np.inf, np.nan, NEGATIVE_NAN, -LARGEST],
)
def test_signs_are_those_of_a_comparison(special, kernel):
    numbers = np.random.default_rng(0).standard_normal((1, 4, 4, 64)).astype(np.float32)
    numbers.reshape(-1)[::37] = special
    (words,) = kernel.run([numbers])
    np.testing.assert_array_equal(words, pack_channels(det_sign(numbers)))


def test_rows_that_are_no_whole_blocks_are_packed_otherwise():
    target = get_target(TARGET)
    scheduled = schedule_kernel(packing(Layer(3, 32), target), target)
    assert scheduled.rule == "arm.stream"
