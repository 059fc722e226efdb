"""The demo: its comparison sees every wrong bit, its verdict follows, and it runs."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DIGITS = 4


@pytest.fixture(scope="module")
def comparison():
    sys.path.insert(0, str(ROOT / "examples"))
    from mnist_demo import comparison

    yield comparison
    sys.path.remove(str(ROOT / "examples"))


@pytest.fixture
def values(comparison):
    """MXNet's values around two small layers."""
    rng = np.random.default_rng(0)
    made = {}
    for layer in comparison.BINARY_LAYERS:
        pre_sign = rng.choice([-0.5, 0.25, 1.0], (DIGITS, 3, 2))
        made[layer.pre_sign] = pre_sign
        made[layer.signs] = np.where(pre_sign < 0, -1.0, 1.0)
        made[layer.counts] = rng.integers(0, 9, (DIGITS, 5)).astype(float)
    return made


def changed(values, name, index, value):
    array = np.copy(values[name])
    array[index] = value
    return {**values, name: array}


def compare(comparison, ours, theirs):
    return comparison.compare_end_to_end(ours, theirs, [0, 0])


def test_equal_values_have_no_difference(comparison, values):
    matches, clear = compare(comparison, values, values)
    assert clear.all()
    assert [m.different_bits + m.different_counts + m.near for m in matches] == [0, 0]
    assert [m.compared_bits for m in matches] == [DIGITS * 6] * 2
    assert [m.compared_counts for m in matches] == [DIGITS * 5] * 2


@pytest.mark.parametrize("place", [0, 1])
def test_one_flipped_sign_is_seen(comparison, values, place):
    name = comparison.BINARY_LAYERS[place].signs
    ours = changed(values, name, (1, 2, 0), -values[name][1, 2, 0])
    matches, _ = compare(comparison, ours, values)
    assert [m.different_bits for m in matches] == [int(place == 0), int(place == 1)]


@pytest.mark.parametrize("place", [0, 1])
def test_one_wrong_integer_is_seen(comparison, values, place):
    name = comparison.BINARY_LAYERS[place].counts
    matches, _ = compare(comparison, changed(values, name, (3, 4), 99), values)
    assert [m.different_counts for m in matches] == [int(place == 0), int(place == 1)]


def test_a_value_near_its_threshold_excuses_itself_and_what_follows_in_its_digit(
    comparison, values
):
    first, second = comparison.BINARY_LAYERS
    theirs = changed(values, first.pre_sign, (2, 0, 0), -comparison.NEAR)
    ours = changed(theirs, first.signs, (2, 0, 0), 7)
    ours = changed(changed(ours, first.counts, (2, 0), 99), second.signs, (2, 1, 1), 7)
    matches, clear = compare(comparison, ours, theirs)
    assert clear.tolist() == [True, True, False, True]
    assert [m.different_bits + m.different_counts for m in matches] == [0, 0]
    assert [m.near for m in matches] == [1, 0]
    assert [m.compared_bits for m in matches] == [DIGITS * 6 - 1, (DIGITS - 1) * 6]


def test_a_value_near_its_threshold_excuses_no_other_digit(comparison, values):
    first, second = comparison.BINARY_LAYERS
    theirs = changed(values, first.pre_sign, (2, 0, 0), 0.0)
    ours = changed(changed(theirs, second.signs, (1, 1, 1), 7), first.counts, (0, 0), 99)
    matches, _ = compare(comparison, ours, theirs)
    assert [m.different_counts for m in matches] == [1, 0]
    assert [m.different_bits for m in matches] == [0, 1]


def test_each_difference_fails_one_check(comparison, values):
    from mnist_demo.checks import check_layer

    match = compare(comparison, values, values)[0][0]
    assert all(check.passed and check.numbers for check in check_layer(match))
    for field in ("different_alone", "different_bits", "different_counts"):
        checks = check_layer(replace(match, **{field: 1}))
        assert sum(not check.passed for check in checks) == 1


@pytest.mark.slow
def test_the_demo_succeeds_and_writes_its_files(tmp_path):
    command = [sys.executable, "examples/demo_mnist.py", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(check["passed"] for check in report["checks"] if check["numbers"])
    assert {layer["different_alone"] for layer in report["binary_layers"]} == {0}
    for name in ("digits.png", "latency.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
