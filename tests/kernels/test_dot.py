"""Layers of bytes and of bfloat16 numbers against numpy: exact integers, and rounded operands."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from precision_harness import (
    BF16_TARGET,
    INT8_TARGETS,
    PORTABLE,
    before_outlining,
    convolve,
    needs,
    pad,
    quantized_conv,
    rounded,
    run_outlined,
)
from relax_harness import TARGETS, kernel_kinds, module, random_floats, run, run_kernel
from tvm import relax, te

from bnn_tvm.kernels.bf16 import from_bf16, to_bf16
from bnn_tvm.kernels.dot import RowPlan, plan_planes, plan_rows
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.groups import GroupPlan
from bnn_tvm.passes.fuse_regions import fuse_regions
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.quantize_layers import Scale, quantize_layers
from bnn_tvm.passes.round_layers import round_layers
from bnn_tvm.target import get_target

OPERATORS = {1: relax.op.nn.conv1d, 2: relax.op.nn.conv2d, 3: relax.op.nn.conv3d}
SETTINGS = settings(max_examples=3, deadline=None, derandomize=True)
RANGE = (-3.0, 2.5)


def special_floats() -> np.ndarray:
    """Every kind of float32, and the numbers halfway between two bfloat16."""
    bits = np.random.default_rng(0).integers(0, 2**32, 4096, np.uint64).astype(np.uint32)
    halves = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    around = np.concatenate([halves, halves + np.uint32(1), halves - np.uint32(1)])
    named = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3.4e38], np.float32)
    return np.concatenate([bits, around, named.view(np.uint32)]).view(np.float32)


def test_rounding_to_bf16_is_to_the_nearest_even():
    numbers = special_floats()
    data = te.placeholder(numbers.shape, "float32", "data")
    func = te.create_prim_func([data, te.compute(numbers.shape, lambda i: to_bf16(data[i]))])
    (bits,) = run_kernel(func, [numbers])
    expected, is_nan = numbers.astype(ml_dtypes.bfloat16), np.isnan(numbers)
    np.testing.assert_array_equal(bits[~is_nan], expected.view(np.uint16)[~is_nan])
    assert np.isnan(bits.view(ml_dtypes.bfloat16)[is_nan].astype(np.float32)).all()


def test_every_bf16_is_read_as_the_equal_float32():
    bits = np.arange(2**16, dtype=np.uint16)
    data = te.placeholder(bits.shape, "uint16", "data")
    func = te.create_prim_func([data, te.compute(bits.shape, lambda i: from_bf16(data[i]))])
    (numbers,) = run_kernel(func, [bits])
    np.testing.assert_array_equal(numbers, bits.view(ml_dtypes.bfloat16).astype(np.float32))


def test_whole_pixels_of_a_row_are_joined_unless_something_lies_between_them():
    everything, window = GroupPlan(0, 1, 3), Window((7, 7), (2, 2), (1, 1), (3, 3, 3, 3))
    assert plan_rows(window, 3, everything, 4) == RowPlan((7,), 21, 4)
    assert plan_rows(window, 3, everything, 4).chunks == 6
    dilated = Window((3, 3), (1, 1), (2, 2), (0, 0, 0, 0))
    assert plan_rows(dilated, 3, everything, 4) == RowPlan((3, 3), 3, 4)
    in_groups = GroupPlan(8, 2, 8, runs=4)
    assert plan_rows(window, 32, in_groups, 4) == RowPlan((7, 7), 8, 4)


def test_an_image_stays_in_planes_where_its_rows_fill_groups_as_well_as_pixels_do():
    window = Window((7, 7), (2, 2), (1, 1), (3, 3, 3, 3))
    assert plan_planes(window, 3, 4) == RowPlan((3, 7), 7, 4)
    assert plan_planes(window, 3, 2) == RowPlan((3, 7), 7, 2)
    assert plan_planes(Window((1, 1), (1, 1), (1, 1), (0,) * 4), 64, 4) is None
    assert plan_planes(Window((3, 3), (1, 1), (2, 2), (0,) * 4), 1, 4) is None


@st.composite
def convolutions(draw: st.DrawFn):
    """Draw a window, groups, the shape of the data (NCHW) and the number of outputs."""
    rank = draw(st.integers(1, 3))
    each = lambda numbers: tuple(draw(numbers) for _ in range(rank))  # noqa: E731
    kernel, strides, dilation = each(st.integers(1, 3)), each(st.integers(1, 2)), ()
    dilation = each(st.integers(1, 2))
    padding = each(st.integers(0, 2))
    window = Window(kernel, strides, dilation, padding * 2)
    extents = tuple(
        max(span - 2 * width, 1) + draw(st.integers(0, 6))
        for span, width in zip(window.spans, padding, strict=True)
    )
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    channels, outputs = draw(st.integers(1, 9)) * groups, draw(st.integers(1, 20)) * groups
    return window, groups, (draw(st.integers(1, 2)), channels, *extents), outputs


def layer(case, signal_scale: float = 1.0):
    """Build a module of one convolution; return it with its data and weights."""
    window, groups, shape, outputs = case
    rank = len(window.kernel)
    data = signal_scale * random_floats(0, *shape)
    weight = random_floats(1, outputs, shape[1] // groups, *window.kernel)

    def body(g, x):
        call = OPERATORS[rank](
            x,
            relax.const(weight),
            strides=list(window.strides),
            padding=list(window.padding),
            dilation=list(window.dilation),
            groups=groups,
        )
        return g(call, "layer")

    return before_outlining(module(body, shape)), data, weight


@pytest.mark.parametrize("target", (PORTABLE, *INT8_TARGETS))
@pytest.mark.slow
@SETTINGS
@given(case=convolutions())
def test_quantized_convolutions_are_exact(target, case):
    needs(target)
    mod, data, weight = layer(case)
    (result,) = run_outlined(quantize_layers(mod, {"layer": RANGE}), [data], target)
    window, groups, *_ = case
    expected = quantized_conv(data, weight, window, groups, Scale.of_range(*RANGE))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("target", (PORTABLE, *INT8_TARGETS))
def test_a_stem_reads_its_image_in_planes(target):
    needs(target)
    window = Window((7, 7), (2, 2), (1, 1), (3, 3, 3, 3))
    mod, data, weight = layer((window, 1, (2, 3, 15, 12), 20))
    lowered = quantize_layers(mod, {"layer": RANGE})
    (result,) = run_outlined(lowered, [data], target)
    expected = quantized_conv(data, weight, window, 1, Scale.of_range(*RANGE))
    np.testing.assert_array_equal(result, expected)
    board = get_target(target)
    # Quantizing, transposing and padding are no kernels of their own.
    assert kernel_kinds(lower_regions(fuse_regions(lowered), board)) == ["conv2d_int8"]


@pytest.mark.parametrize("target", (PORTABLE, BF16_TARGET))
@pytest.mark.slow
@SETTINGS
@given(case=convolutions())
def test_rounded_convolutions_sum_products_of_bf16(target, case):
    needs(target)
    mod, data, weight = layer(case)
    (result,) = run_outlined(round_layers(mod, {"layer"}), [data], target)
    window, groups, *_ = case
    operands = rounded(pad(data, window, 0.0)), rounded(weight)
    expected = convolve(*operands, window, groups)
    # Sums in float32 are off by a few units in the last place of the sum of magnitudes.
    bound = convolve(*(np.abs(array) for array in operands), window, groups) * 1e-6
    assert (np.abs(result - expected) <= bound + 1e-30).all()


@pytest.mark.parametrize("target", (PORTABLE, BF16_TARGET))
def test_rounded_layers_are_exact_on_small_integers(target):
    needs(target)
    generator = np.random.default_rng(3)
    weight = generator.integers(-15, 16, (77, 40)).astype(np.float32)
    data = generator.integers(-15, 16, (3, 77)).astype(np.float32)
    mod = before_outlining(module(lambda g, x: g.dense(x, weight, "layer"), data.shape))
    (result,) = run_outlined(round_layers(mod, {"layer"}), [data], target)
    np.testing.assert_array_equal(result, data @ weight)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows, inputs, units", [(1, 512, 100), (3, 77, 10)])
def test_weights_alone_in_bf16_are_read_as_the_equal_float32(target, rows, inputs, units):
    needs(target)
    weight, data = random_floats(6, inputs, units), random_floats(7, rows, inputs)
    exact = data.astype(np.float64) @ rounded(weight)
    mod = before_outlining(module(lambda g, x: g.dense(x, weight, "layer"), data.shape))
    lowered = round_layers(mod, (), {"layer"})
    for result in (*run(lowered, [data]), *run_outlined(lowered, [data], target)):
        np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("target", (PORTABLE, *INT8_TARGETS))
@pytest.mark.parametrize("rows, inputs, units", [(1, 512, 100), (3, 77, 10), (1, 3, 1)])
def test_quantized_dense_layers_are_exact(target, rows, inputs, units):
    needs(target)
    weight, data = random_floats(4, units, inputs), random_floats(5, rows, inputs)
    mod = before_outlining(module(lambda g, x: g.dense(x, weight.T.copy(), "layer"), data.shape))
    (result,) = run_outlined(quantize_layers(mod, {"layer": RANGE}), [data], target)
    scale, one = Scale.of_range(*RANGE), Window((1,), (1,), (1,), (0, 0))
    expected = quantized_conv(data[..., None], weight[..., None], one, 1, scale)
    np.testing.assert_array_equal(result, expected[..., 0])
