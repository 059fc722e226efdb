"""The recorded numbers: exact inputs, none that rounding would change, and their files."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import lower, module, random_floats, run

from bnn_tvm.build import build_executable, schedule_module
from bnn_tvm.errors import PackageError
from bnn_tvm.package.manifest import TensorInfo
from bnn_tvm.package.recording import INPUT_SCALE, Recording
from bnn_tvm.selftest import open_executable, record
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
    recording = record(open_executable(build_executable(mod, get_target(TARGET))), INFOS)
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

    recording = record(run, INFOS[:1])
    assert len(seen) == 4
    np.testing.assert_array_equal(recording.pattern[:40] / INPUT_SCALE, seen[2][0])
    assert np.isclose(recording.tolerance, 2e-4)


def test_a_network_that_doubts_every_input_gets_a_wider_tolerance():
    def run(arrays):
        return (np.float32([[1.0, 2.0 if exact(arrays[0]) else 2.5]]),)

    assert record(run, INFOS[:1]).tolerance == 1.0


def test_what_is_not_finite_does_not_count():
    recording = record(lambda arrays: (np.float32([np.nan, np.inf, 2.0]),), INFOS[:1])
    assert np.isclose(recording.tolerance, 2e-4)


def test_files_hold_a_recording():
    outputs = (np.float32([[1.5, -2.0]]), np.array([True, False]))
    one = Recording(np.arange(-5, 5, dtype=np.int8), outputs, 0.25)
    other = Recording.from_files(one.to_files(), 0.25)
    np.testing.assert_array_equal(one.pattern, other.pattern)
    for ours, theirs in zip(other.outputs, outputs, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(one.inputs(INFOS), other.inputs(INFOS), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.pop("selftest/pattern.npy"),
        lambda files: files.update({"selftest/output7.npy": b""}),
        lambda files: files.update({"selftest/output0.npy": b"no array"}),
        lambda files: files.update({"selftest/pattern.npy": files["selftest/output0.npy"]}),
    ],
)
def test_files_that_hold_none_are_refused(change):
    files = Recording(np.zeros(3, np.int8), (np.zeros((1, 2), np.float32),), 0.0).to_files()
    change(files)
    with pytest.raises(PackageError):
        Recording.from_files(files, 0.0)
