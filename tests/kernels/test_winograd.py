"""Winograd's form of convolutions against sums in float64: few more errors than the plain form."""

from __future__ import annotations

import numpy as np
import pytest
from bnn_tvm.schedules import RULES
from hypothesis import given, settings
from hypothesis import strategies as st
from precision_harness import convolve, pad
from relax_harness import TARGETS, lower, module, random_floats, run, run_kernel, run_lowered
from tvm import relax, te

from bnn_tvm.build import schedule_module
from bnn_tvm.kernels.floating import gathered_conv
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.groups import GroupPlan
from bnn_tvm.kernels.stages import RESULT
from bnn_tvm.kernels.winograd import POINTS, RESULTS, Filtering, winograd_conv
from bnn_tvm.target import get_target

op = relax.op
LANES = 16
STEM = Window((7, 7), (2, 2), (1, 1), (3, 3, 3, 3))
SETTINGS = settings(max_examples=15, deadline=None, derandomize=True)
# Of the results' standard deviation; a plain sum in float32 has 2.3e-7 for the stem.
MOST_ERROR = 1e-6


def build(convolution, arrays, shape, outputs):
    """Make a kernel of a convolution of an image in planes and of other operands."""
    operands = [te.placeholder(a.shape, "float32", n) for n, a in arrays.items()]
    planes = operands[0]
    sums = convolution(lambda n, *index: planes(n, index[-1], *index[:-1]), shape, *operands[1:])
    *outer, _, _ = sums.shape
    result = te.compute(
        (*outer, outputs), lambda *i: sums(*i[:-1], i[-1] // LANES, i[-1] % LANES), RESULT
    )
    return te.create_prim_func([*operands, result])


def block(weight):
    """Bring (O, ...) into (blocks, ..., lanes)."""
    return np.moveaxis(weight.reshape(-1, LANES, *weight.shape[1:]), 1, -1).copy()


def convolve_rows(data, weight, window, pad_value, plain=False, target=TARGETS[2], by=()):
    """Convolve (N, C, *extents) with (O, C, *kernel)."""
    filtering, last = Filtering(window, weight.shape[1]), np.moveaxis(weight, 1, -1)
    groups = GroupPlan(0, 1, weight.shape[1])

    def filtered(element, shape, weight):
        return winograd_conv(element, shape, weight, filtering, pad_value)

    def summed(element, shape, weight):
        return gathered_conv(element, shape, weight, window, pad_value, groups)

    arrays = {"data": data, "weight": block(last if plain else filtering.transform_weight(last))}
    shape = (data.shape[0], *data.shape[2:], data.shape[1])
    func = build(summed if plain else filtered, arrays, shape, weight.shape[0])
    return np.moveaxis(run_kernel(func, [*arrays.values()], target, by)[0], -1, 1)


def error(found, data, weight, window, pad_value):
    """Give the root mean square of the errors, as a share of the results' standard deviation."""
    padded = pad(data.astype(np.float64), window, pad_value)
    exact = convolve(padded, weight.astype(np.float64), window, 1)
    assert found.shape == exact.shape
    return np.sqrt(((found - exact) ** 2).mean()) / exact.std()


@st.composite
def layers(draw):
    """Layers along one or two axes, of rows that are whole groups of results."""
    stride = draw(st.integers(1, 3))
    width = draw(st.integers(stride + 1, 4 * stride))
    results = RESULTS * draw(st.integers(1, 5))
    before = draw(st.integers(0, width - 1))
    after = draw(st.integers(0, width - 1))
    size = max((results - 1) * stride + width - before - after, 1)
    # What the window does not reach at the end is cut off.
    after = (results - 1) * stride + width - before - size
    axes = draw(st.integers(1, 2))
    outer = [(draw(st.integers(1, 3)), draw(st.integers(1, 2)))] * (axes - 1)
    window = Window(
        (*(k for k, _ in outer), width),
        (*(s for _, s in outer), stride),
        (1,) * axes,
        (*[1] * (axes - 1), before, *[1] * (axes - 1), after),
    )
    return window, draw(st.integers(1, 3)), (*[5] * (axes - 1), size)


@SETTINGS
@given(layers(), st.sampled_from([0.0, 1.0, -1.5]), st.integers(0, 2**32 - 1))
def test_results_are_those_of_a_convolution(layer, pad_value, seed):
    window, channels, extents = layer
    data = random_floats(seed, 2, channels, *extents)
    weight = random_floats(seed + 1, 16, channels, *window.kernel)
    found = convolve_rows(data, weight, window, pad_value)
    assert error(found, data, weight, window, pad_value) < MOST_ERROR


@pytest.mark.parametrize("target", TARGETS[:2])
def test_scheduled_stems_err_little_more_than_plain_sums(target):
    data, weight = random_floats(0, 1, 3, 64, 64), random_floats(1, 32, 3, 7, 7)
    filtered, plain = (
        error(convolve_rows(data, weight, STEM, 0.0, form, target, RULES), data, weight, STEM, 0.0)
        for form in (False, True)
    )
    assert filtered < min(3 * plain, MOST_ERROR)


def stem(g, x):
    image = g.affine(x, random_floats(2, 3), random_floats(3, 3))
    y = g.conv(image, random_floats(1, 64, 3, 7, 7), strides=(2, 2), padding=3)
    return [y, g(op.nn.relu(y)), g.sign(y)]


def rules(mod, target):
    kernels = schedule_module(lower(mod, target), get_target(target)).kernels.values()
    return {kernel.rule for kernel in kernels}


@pytest.mark.parametrize("shape", [(1, 3, 40, 96), (2, 3, 21, 24)], ids=str)
@pytest.mark.parametrize("target", TARGETS[:2])
def test_stems_of_networks_take_it(shape, target):
    x = random_floats(0, *shape)
    assert "x86.winograd" in rules(module(stem, shape), target)
    found = run_lowered(module(stem, shape), [x], target)
    numbers, positive, signs = run(module(stem, shape), [x])
    np.testing.assert_allclose(found[0], numbers, atol=2e-4)
    np.testing.assert_allclose(found[1], positive, atol=2e-4)
    is_sure = np.abs(numbers) > 1e-3
    np.testing.assert_array_equal(found[2][is_sure], signs[is_sure])


@pytest.mark.parametrize("width", [32, 96])  # L1 holds the sums of a row, or of a tile only
@pytest.mark.parametrize("target", TARGETS[:2])
def test_stems_that_are_only_packed_take_it(target, width):
    weight = np.sign(random_floats(4, 8, 64, 1, 1))
    x = random_floats(0, 1, 3, 40, width)

    def binary(g, x):
        return g.conv(g.sign(stem(g, x)[0]), weight)

    assert "x86.winograd" in rules(module(binary, x.shape), target)
    is_sure = (np.abs(run(module(stem, x.shape), [x])[0]) > 1e-3).all(axis=1)
    found, expected = (
        run_lowered(module(binary, x.shape), [x], target),
        run(module(binary, x.shape), [x]),
    )
    assert is_sure.mean() > 0.5
    np.testing.assert_array_equal(
        np.moveaxis(found[0], 1, -1)[is_sure], np.moveaxis(expected[0], 1, -1)[is_sure]
    )


def rules_of_conv(shape, target, **options):
    def conv(g, x):
        return g.conv(
            x, random_floats(1, 32, shape[1] // options.get("groups", 1), 7, 7), **options
        )

    return rules(module(conv, shape), target)


def test_it_is_taken_where_it_saves_multiplications():
    image, rule = (1, 3, 32, 32), "x86.winograd"
    assert rule in rules_of_conv(image, TARGETS[0], strides=(2, 2), padding=3)
    # Rows of 13 results, filters with holes or in groups, and targets without such a schedule.
    assert rule not in rules_of_conv((1, 3, 32, 26), TARGETS[0], strides=(2, 2), padding=3)
    assert rule not in rules_of_conv(image, TARGETS[0], dilation=(1, 2), padding=(3, 6))
    in_groups = {"strides": (2, 2), "padding": 3, "groups": 2}
    assert rule not in rules_of_conv((1, 4, 32, 32), TARGETS[0], **in_groups)
    assert rule not in rules_of_conv(image, "x86-64", strides=(2, 2), padding=3)


def test_few_taps_or_short_sums_are_not_worth_it():
    assert Filtering(STEM, 3).is_worthwhile((32, 32))
    assert not Filtering(Window((1, 7), (1, 2), (1, 1), (0, 3, 0, 3)), 3).is_worthwhile((32, 32))
    strided = Window((3, 3), (2, 2), (1, 1), (1, 1, 1, 1))
    assert not Filtering(strided, 64).is_worthwhile((32, 32))
    long = Window((3, len(POINTS)), (1, 1), (1, 1), (1, 2, 1, 3))
    assert not Filtering(long, 64).is_worthwhile((32, 32))
