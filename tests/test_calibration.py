"""Calibration data, the comparison of outputs, and compiling in lower precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnn_tvm
from bnn_tvm.calibration import compare_outputs, split_batches, standard_normal_data
from bnn_tvm.errors import InputError, TargetError
from bnn_tvm.package.manifest import Manifest, TensorInfo
from bnn_tvm.runtime import Session

MODEL = Path(__file__).parents[1] / "examples" / "models" / "lenet-1bit-symbol.json"
INPUT = TensorInfo("data", (2, 3), "float32", "NC")


def test_data_is_cut_into_batches_of_the_model():
    data = split_batches([INPUT], [np.arange(12, dtype=np.float32).reshape(4, 3)])
    assert [batch[0].tolist() for batch in data.batches] == [
        [[0, 1, 2], [3, 4, 5]],
        [[6, 7, 8], [9, 10, 11]],
    ]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ([], "0 calibration arrays for the inputs data"),
        ([np.zeros((3, 3), np.float32)], "a multiple of 2"),
        ([np.zeros((2, 4), np.float32)], "must be float32 of nx3"),
        ([np.zeros((2, 3))], "is float64"),
        ([np.zeros((0, 3), np.float32)], "a multiple of 2"),
    ],
)
def test_data_that_does_not_fit_is_refused(arrays, message):
    with pytest.raises(InputError, match=message):
        split_batches([INPUT], arrays)


def test_random_data_is_the_same_each_time():
    first, second = standard_normal_data([INPUT]), standard_normal_data([INPUT])
    for one, other in zip(first.batches, second.batches, strict=True):
        np.testing.assert_array_equal(one, other)


def test_outputs_are_compared_over_all_batches():
    before = [[np.array([[1.0, 4.0]], np.float32)], [np.array([[-8.0, 3.0]], np.float32)]]
    after = [[np.array([[1.0, 2.0]], np.float32)], [np.array([[-8.0, -9.0]], np.float32)]]
    (change,) = compare_outputs(["out"], before, after)
    assert (change.largest_absolute, change.mean_absolute) == (12.0, 3.5)
    assert (change.largest_relative, change.mean_relative) == (12 / 8, 3.5 / 4)
    assert (change.rows, change.same_top1) == (2, 1)


def compile_lenet(**options):
    return bnn_tvm.compile(MODEL, input_shape=(1, 1, 28, 28), **options)


def test_a_model_compiles_in_int8_and_says_what_changes():
    digits = np.random.default_rng(1).random((3, 1, 28, 28)).astype(np.float32)
    package = compile_lenet(target="x86-64-vpopcntdq", float_precision="int8", calibration=[digits])
    assert Manifest.from_json(package.manifest.to_json()) == package.manifest
    precision = package.manifest.precision
    assert (precision.float_layers, precision.data) == ("int8", "3 batches of given data")
    assert [layer.precision for layer in precision.layers] == ["int8", "int8"]
    (change,) = precision.changes
    assert change.rows == 3 and 0 < change.mean_absolute <= change.largest_absolute
    bits = {layer.name: layer.weight_bits for layer in package.manifest.layers}
    assert sorted(bits.values()) == [1, 1, 8, 8]
    exact = Session(compile_lenet(target="x86-64-vpopcntdq")).run(digits[:1])
    lowered = Session(package).run(digits[:1])
    assert 0 < np.abs(lowered - exact).max() <= change.largest_absolute * 1.001


def test_a_target_without_the_instruction_is_refused():
    with pytest.raises(TargetError, match=r"x86-64-avx2 has no vpdpbusd; .*x86-64-avxvnni"):
        compile_lenet(target="x86-64-avx2", float_precision="int8")


def test_gpus_and_processors_have_precisions_of_their_own():
    with pytest.raises(TargetError, match="sm_80 is a GPU"):
        compile_lenet(target="sm_80", float_precision="bf16")
    with pytest.raises(TargetError, match=r"sm_75 has no mma.tf32; .*sm_80"):
        compile_lenet(target="sm_75", float_precision="tf32")


def test_layers_that_gain_nothing_in_bf16_stay_exact_and_say_why():
    precision = compile_lenet(target="x86-64-avx2", float_precision="bf16").manifest.precision
    assert [layer.precision for layer in precision.layers] == ["float32", "float32"]
    assert all("no faster than float32" in layer.reason for layer in precision.layers)
    assert precision.changes[0].largest_absolute == 0


def test_calibration_data_without_lower_precision_is_refused():
    with pytest.raises(InputError, match="leave it out or ask for a --float-precision"):
        compile_lenet(calibration=[np.zeros((1, 1, 28, 28), np.float32)])


def test_an_unknown_precision_is_refused():
    with pytest.raises(InputError, match="unknown float precision 'int4'"):
        compile_lenet(float_precision="int4")
