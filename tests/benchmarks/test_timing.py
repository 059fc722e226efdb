"""Comparing before timing: which inputs are taken, and when engines are refused."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cases import BF16, OPENVINO, OURS, Case, Entry
from benchmarks.contenders import Contender
from benchmarks.timing import agreeing_input, draw_input
from bnn_tvm.errors import ModelError

CASE = Case(
    "case",
    (
        Entry("ours", OURS, "model"),
        Entry("theirs", OPENVINO, "model"),
        Entry("rough", OPENVINO, "model", precision=BF16),
        Entry("another", OURS, "other model"),
    ),
)


def contenders(wrong_seeds: set[int]) -> dict[str, Contender]:
    """Theirs is wrong for the inputs of some seeds, and the rough one always is."""
    wrong = [draw_input((4,), seed) for seed in wrong_seeds]

    def theirs(x: np.ndarray) -> np.ndarray:
        return x + any(np.array_equal(x, other) for other in wrong)

    outputs = {"ours": lambda x: x, "theirs": theirs, "rough": lambda x: 2 * x}
    return {
        entry.label: Contender(lambda x: lambda: x, outputs.get(entry.label, np.negative), (4,))
        for entry in CASE.entries
    }


def test_the_first_input_that_all_float32_engines_agree_on_is_taken():
    seed, differences = agreeing_input(CASE, contenders({0, 1}))
    assert seed == 2
    assert differences == {"ours": 0.0, "theirs": 0.0, "rough": 1.0}


def test_engines_that_never_agree_are_refused():
    with pytest.raises(ModelError, match="'case' disagree"):
        agreeing_input(CASE, contenders(set(range(8))))
