"""The recorded numbers: exact inputs, and none that rounding would turn into others."""

from __future__ import annotations

import numpy as np
from relax_harness import lower, module, random_floats, run

from bnn_tvm.build import schedule_module
from bnn_tvm.embed.selftest import INPUT_SCALE, record
from bnn_tvm.package.manifest import TensorInfo
from bnn_tvm.target import get_target

TARGET = "x86-64"
SHAPES = ((2, 40), (1, 3, 16, 16))
INFOS = tuple(TensorInfo(f"x{i}", shape, "float32", "") for i, shape in enumerate(SHAPES))


def scheduled(body, *shapes):
    return schedule_module(lower(module(body, *shapes), TARGET), get_target(TARGET)).mod


def test_outputs_are_those_of_the_pattern_spread_over_all_inputs():
    def body(g, x, y):
        return [g.dense(x, random_floats(1, 40, 8)), g.conv(y, random_floats(2, 4, 3, 3, 3))]

    mod = scheduled(body, *SHAPES)
    recording = record(mod, get_target(TARGET), INFOS)
    assert recording.pattern.dtype == np.int8
    numbers = np.resize(recording.pattern, 80 + 768).astype(np.float32) / INPUT_SCALE
    inputs = [numbers[:80].reshape(SHAPES[0]), numbers[80:].reshape(SHAPES[1])]
    for ours, theirs in zip(recording.outputs, run(mod, inputs, TARGET), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    largest = max(np.abs(output).max() for output in recording.outputs)
    assert np.isclose(recording.tolerance, 1e-4 * largest)


def exact(array: np.ndarray) -> bool:
    """Whether an array holds recorded numbers and not those with other rounding."""
    return bool((array == np.round(array * INPUT_SCALE) / INPUT_SCALE).all())


def test_an_input_is_chosen_whose_outputs_rounding_does_not_change(monkeypatch):
    """Two inputs of a network that is chaotic for the first of them."""
    seen = []

    def run(arrays):
        seen.append(arrays[0])
        doubtful = len(seen) <= 2 and not exact(arrays[0])
        return (np.float32([[1.0, 5.0 if doubtful else 2.0]]),)

    monkeypatch.setattr("bnn_tvm.embed.selftest._load", lambda mod, target: run)
    recording = record(None, None, INFOS[:1])
    assert len(seen) == 4
    np.testing.assert_array_equal(recording.pattern[:40] / INPUT_SCALE, seen[2][0])
    assert np.isclose(recording.tolerance, 2e-4)


def test_a_network_that_doubts_every_input_gets_a_wider_tolerance(monkeypatch):
    def run(arrays):
        return (np.float32([[1.0, 2.0 if exact(arrays[0]) else 2.5]]),)

    monkeypatch.setattr("bnn_tvm.embed.selftest._load", lambda mod, target: run)
    assert record(None, None, INFOS[:1]).tolerance == 1.0
