"""Passes that run float layers in lower precision: before, after, and both run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from precision_harness import before_outlining, rounded, run_outlined
from relax_harness import (
    kernel_kinds,
    module,
    operators,
    random_floats,
    random_signs,
    run,
    run_kernel,
)
from tvm import relax, te

from bnn_tvm.kernels.dot import round_to_tf32 as round_in_kernel
from bnn_tvm.passes.dataflow import dtype_of, main_bindings, op_name
from bnn_tvm.passes.float_layers import float_layers
from bnn_tvm.passes.fuse_regions import fuse_regions
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.quantize_layers import Scale, fits_int32, quantize_layers, quantize_weight
from bnn_tvm.passes.round_layers import round_layers
from bnn_tvm.passes.round_to_tf32 import round_numbers, round_to_tf32
from bnn_tvm.target import get_target

op = relax.op
SHAPE = (2, 3, 6, 6)
RANGES = {"stem": (-4.0, 4.0), "head": (-30.0, 30.0)}


def network(g, x):
    """A float stem, a binary convolution, and a float classifier."""
    y = g(op.nn.relu(g.conv(g.pad(x, 1, 0.5), random_floats(1, 20, 3, 3, 3), "stem")))
    bits = g.conv(g.sign(y), random_signs(2, 8, 20, 6, 6), "binary")
    return g.dense(g(op.reshape(bits, (2, 8))), random_floats(3, 8, 5), "head")


@pytest.fixture(scope="module")
def divided():
    return before_outlining(module(network, SHAPE))


def layer_dtypes(mod) -> dict[str, str]:
    layers = [b for b in main_bindings(mod) if op_name(b.value) in ("nn.conv2d", "matmul")]
    return {b.var.name: dtype_of(b.value.args[0]) for b in layers}


def test_float_layers_are_those_that_do_not_run_on_bits(divided):
    assert [binding.var.name for binding in float_layers(divided)] == ["stem", "head"]


@pytest.mark.parametrize(
    "apply, dtype",
    [
        (lambda mod: round_layers(mod, RANGES), "bfloat16"),
        (lambda mod: round_layers(mod, RANGES, dtype="float16"), "float16"),
        (lambda mod: quantize_layers(mod, RANGES), "uint8"),
    ],
)
def test_only_float_layers_change_and_every_stage_computes_the_same(divided, apply, dtype):
    lowered, x = apply(divided), random_floats(0, *SHAPE)
    assert layer_dtypes(divided) == dict.fromkeys(("stem", "binary", "head"), "float32")
    assert layer_dtypes(lowered) == {"stem": dtype, "binary": "float32", "head": dtype}
    (before,), (stage,), (kernels,) = (
        run(divided, [x]),
        run(lowered, [x]),
        run_outlined(lowered, [x]),
    )
    np.testing.assert_allclose(kernels, stage, rtol=1e-6)
    assert 0 < np.abs(stage - before).max() < 0.1 * np.abs(before).max()


def test_layers_without_a_range_stay_as_they_are(divided):
    lowered = quantize_layers(divided, {"head": RANGES["head"]})
    assert layer_dtypes(lowered)["stem"] == "float32"
    assert layer_dtypes(lowered)["head"] == "uint8"


def test_the_data_is_narrowed_before_it_is_padded(divided):
    names = operators(quantize_layers(divided, RANGES))
    assert names.index("astype") < names.index("nn.pad") < names.index("nn.conv2d")


def test_weights_alone_are_rounded_where_data_shall_stay(divided):
    lowered, x = round_layers(divided, (), {"head"}), random_floats(0, *SHAPE)
    assert layer_dtypes(lowered) == dict.fromkeys(("stem", "binary", "head"), "float32")
    (head,) = [b.value for b in main_bindings(lowered) if b.var.name == "head"]
    assert dtype_of(head.args[1]) == "bfloat16"
    (before,), (stage,) = run(divided, [x]), run(lowered, [x])
    (kernels,) = run_outlined(lowered, [x])
    np.testing.assert_allclose(kernels, stage, rtol=1e-6)
    assert 0 < np.abs(stage - before).max() < 0.1 * np.abs(before).max()


def test_two_layers_that_read_the_same_share_what_is_quantized():
    def two(g, x):
        return [g.dense(x, random_floats(n, 8, 5), f"layer{n}") for n in (1, 2)]

    mod = before_outlining(module(two, (2, 8)))
    lowered = quantize_layers(mod, {"layer1": (0.0, 1.0), "layer2": (0.0, 1.0)})
    assert operators(lowered).count("clip") == 1


def test_what_others_read_as_floats_is_narrowed_by_a_kernel_of_its_own():
    def shared(g, x):
        y = g(op.nn.relu(g.conv(x, random_floats(1, 16, 3, 3, 3), "first")))
        return [y, g.conv(y, random_floats(2, 16, 16, 1, 1), "second")]

    mod = before_outlining(module(shared, SHAPE))
    lowered = quantize_layers(mod, {"second": (0.0, 9.0)})
    kinds = kernel_kinds(lower_regions(fuse_regions(lowered), get_target("x86-64")))
    assert kinds == ["conv2d", "conv2d_int8", "elementwise"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32))
def test_a_scale_covers_its_range_and_keeps_zero(one, other):
    low, high = sorted((one, other))
    scale = Scale.of_range(low, high)
    assert scale.byte(0.0) == scale.zero
    for value in (low, high, 0.0, (low + high) / 2):
        error = abs((scale.byte(value) - scale.zero) * scale.step - value)
        assert error <= scale.step * 1.01 or scale == Scale(1.0, 0)


def test_weights_use_all_of_their_range_and_zeros_stay():
    weight = random_floats(7, 6, 4, 3, 3)
    weight[2] = 0
    levels, steps = quantize_weight(weight, "nn.conv2d")
    assert levels.dtype == np.int8 and steps.shape == (6,)
    np.testing.assert_array_equal(
        np.abs(levels.astype(int)).max(axis=(1, 2, 3)), [127, 127, 0, 127, 127, 127]
    )
    assert np.abs(levels * steps.reshape(-1, 1, 1, 1) - weight).max() <= steps.max() / 2 * 1.001


def test_sums_that_may_not_fit_are_not_quantized():
    assert fits_int32(np.empty((2**31 // (255 * 127), 1)), "matmul")
    assert not fits_int32(np.empty((2**31 // (255 * 127) + 1, 1)), "matmul")


def test_rounding_is_that_of_bfloat16():
    weight, x = random_floats(1, 8, 5), random_floats(0, 2, 8)
    mod = before_outlining(module(lambda g, x: g.dense(x, weight, "layer"), x.shape))
    (result,) = run(round_layers(mod, {"layer"}), [x])
    np.testing.assert_allclose(result, rounded(x) @ rounded(weight), rtol=1e-5, atol=1e-6)


def test_tf32_layers_round_data_where_they_multiply_it(divided):
    lowered, x = round_to_tf32(divided), random_floats(0, *SHAPE)
    kinds = kernel_kinds(lower_regions(fuse_regions(lowered), get_target("x86-64")))
    assert {"conv2d_tf32", "dense_tf32"} <= set(kinds) and not {"conv2d", "dense"} & set(kinds)
    (before,), (stage,), (kernels,) = (
        run(divided, [x]),
        run(lowered, [x]),
        run_outlined(lowered, [x]),
    )
    # The stage rounds its weights alone; what the last layer reads are few integers.
    assert 0 < np.abs(stage - before).max() < 0.1 * np.abs(before).max()
    np.testing.assert_allclose(kernels, stage, rtol=1e-6)


def test_rounding_to_tf32_is_the_same_in_kernels_and_to_the_nearest():
    x = np.concatenate([random_floats(0, 500), np.float32([0, -0.0, 1 + 2.0**-11, np.inf, 3e-39])])
    data = te.placeholder(x.shape, "float32", "data")
    rounded_data = te.compute(x.shape, lambda i: round_in_kernel(data[i]), name="rounded")
    (given,) = run_kernel(te.create_prim_func([data, rounded_data]), [x])
    np.testing.assert_array_equal(given.view(np.uint32), round_numbers(x).view(np.uint32))
    finite = x[:500]
    assert (np.abs(given[:500] - finite) <= np.abs(finite) * 2.0**-11).all()
    assert given[502] == 1 + 2.0**-10 and not (given.view(np.uint32) & 0x1FFF).any()


def test_tf32_is_the_product_of_rounded_numbers():
    weight, x = random_floats(1, 8, 5), random_floats(0, 2, 8)
    mod = before_outlining(module(lambda g, x: g.dense(x, weight, "layer"), x.shape))
    (result,) = run_outlined(round_to_tf32(mod), [x])
    expected = round_numbers(x).astype(np.float64) @ round_numbers(weight).astype(np.float64)
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
