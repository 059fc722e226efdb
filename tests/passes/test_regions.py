"""Regions: what goes into which, in an order that can run, outlined without changing a number."""

from __future__ import annotations

import pytest
from relax_harness import (
    TARGETS,
    assert_same,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
    run_passes,
)
from tvm import relax
from tvm.ir import GlobalVar

from bnn_tvm.passes.binary import reason_not_binary
from bnn_tvm.passes.convert_layout import convert_layout
from bnn_tvm.passes.dataflow import main_bindings, op_name
from bnn_tvm.passes.fold_thresholds import fold_thresholds
from bnn_tvm.passes.fuse_regions import COMPOSITE, LAYER, fuse_regions
from bnn_tvm.passes.regions import divide_into_regions

op = relax.op
SHAPE = (1, 8, 6, 6)


def residual_block(g, x):
    """A float stem, then sign, convolution, affine and shortcut, twice."""
    y = g.conv(x, random_floats(1, 8, 8, 3, 3), padding=1)
    for seed in (2, 3):
        dot = g.conv(g.pad(g.sign(y), 1, -1.0), random_signs(seed, 8, 8, 3, 3))
        y = g(op.add(g.affine(dot, random_floats(seed, 8), random_floats(seed + 9, 8)), y))
    return y


def dense_block(g, x):
    y = g.conv(x, random_floats(1, 8, 8, 3, 3), padding=1)
    for seed in (2, 3):
        channels = 8 * (seed - 1)
        signs = g.sign(g.affine(y, random_floats(4, channels), random_floats(5, channels)))
        new = g.conv(g.pad(signs, 1, -1.0), random_signs(seed, 8, channels, 3, 3))
        y = g(op.concat([y, new], 1))
    return y


def lenet(g, x):
    y = g(op.tanh(g(op.nn.max_pool2d(g.conv(x, random_floats(1, 8, 8, 3, 3)), (2, 2), (2, 2)))))
    y = g.conv(
        g.sign(g.affine(y, random_floats(2, 8), random_floats(3, 8))), random_signs(4, 5, 8, 2, 2)
    )
    flat = g(op.reshape(g.sign(y), (1, 5)))
    return g(op.nn.softmax(g.dense(flat, random_signs(5, 5, 10))))


def shortcut_of_signs(g, x):
    signs = g.sign(g.conv(x, random_floats(1, 8, 8, 1, 1)))
    return g(op.add(g.conv(signs, random_signs(2, 8, 8, 1, 1)), signs))


NETWORKS = [residual_block, dense_block, lenet, shortcut_of_signs]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.__name__)
def test_regions_read_from_earlier_ones_only(network):
    mod = fold_thresholds(convert_layout(module(network, SHAPE)))
    available = set(mod["main"].params)
    regions = divide_into_regions(mod)
    for region in regions:
        assert set(region.inputs()) <= available, region.anchor
        available |= {binding.var for binding in region.bindings}
    calls = {b.var for b in main_bindings(mod) if isinstance(b.value, relax.Call)}
    assert {b.var for region in regions for b in region.bindings} == calls


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.__name__)
def test_outlined_regions_compute_the_same(network):
    before = fold_thresholds(convert_layout(module(network, SHAPE)))
    after = fuse_regions(before)
    x = random_floats(0, *SHAPE)
    assert_same(run(before, [x]), run(after, [x]))


def region_kinds(network):
    fused = run_passes(module(network, SHAPE))
    called = [
        fused[b.value.op]
        for b in main_bindings(fused)
        if isinstance(b.value, relax.Call) and isinstance(b.value.op, GlobalVar)
    ]
    assert all(LAYER in function.attrs for function in called)
    return [str(function.attrs[COMPOSITE]).removeprefix("bnn.") for function in called]


@pytest.mark.parametrize(
    "network, kinds",
    [
        (residual_block, ["conv2d", "bitserial_conv2d", "bitserial_conv2d"]),
        (lenet, ["conv2d", "max_pool2d", "bitserial_conv2d", "bitserial_dense"]),
        (shortcut_of_signs, ["conv2d", "bitserial_conv2d", "elementwise"]),
    ],
)
def test_each_layer_takes_what_follows_it(network, kinds):
    assert region_kinds(network) == kinds


def test_at_most_one_long_function_in_a_region():
    def body(g, x):
        y = g.conv(x, random_floats(1, 8, 8, 1, 1))
        return g(op.sigmoid(g(op.tanh(y))))

    assert region_kinds(body) == ["conv2d", "elementwise"]


def layer_call(body, *shapes):
    mod = convert_layout(module(body, *shapes))
    values = {binding.var: binding.value for binding in main_bindings(mod)}
    layer = next(v for v in reversed(values.values()) if op_name(v) in LAYER_OPS)
    return layer, values.get


LAYER_OPS = ("nn.conv2d", "matmul")
SIGNS = random_signs(1, 4, 8, 3, 3)


@pytest.mark.parametrize(
    "body, reason",
    [
        (lambda g, x: g.conv(g.sign(x), SIGNS), ""),
        (lambda g, x: g.conv(g.pad(g.sign(x), 1, 1.0), SIGNS), ""),
        (lambda g, x: g.conv(x, SIGNS), "its input is not proven"),
        (lambda g, x: g.conv(g.sign(x), random_floats(1, 4, 8, 3, 3)), "its weights are not"),
        (lambda g, x: g.dense(g.sign(x), random_signs(1, 6, 3)), "its input has 4 dimensions"),
        (lambda g, x: g(op.matmul(g.sign(x), g.sign(x))), "its weights are not constants"),
        (lambda g, x: g.conv(g(op.nn.max_pool2d(g.sign(x), (2, 2))), SIGNS), ""),
        (lambda g, x: g.conv(g(op.nn.avg_pool2d(g.sign(x), (2, 2))), SIGNS), "its input is not"),
        (
            lambda g, x: g.conv(
                g(op.concat([g.sign(x), g.sign(x)], 1)), random_signs(1, 2, 16, 1, 1)
            ),
            "",
        ),
    ],
)
def test_a_reason_is_given_for_every_layer_that_stays_in_float(body, reason):
    call, lookup = layer_call(body, SHAPE)
    given = reason_not_binary(call, lookup)
    assert given.startswith(reason) and bool(given) == bool(reason)


def normalized_image(g, x):
    """BatchNorm on an image of few channels, then a convolution of numbers."""
    scaled = g.affine(x, random_floats(1, 8), random_floats(2, 8))
    return g.conv(g(op.clip(scaled, -1.0, 1.0)), random_floats(3, 8, 8, 3, 3), padding=1)


def image_read_twice(g, x):
    scaled = g.affine(x, random_floats(1, 8), random_floats(2, 8))
    return g(op.concat([g.conv(scaled, random_floats(3, 8, 8, 1, 1)), scaled], 1))


@pytest.mark.parametrize("network, absorbed", [(normalized_image, True), (image_read_twice, False)])
def test_a_convolution_transposes_and_scales_an_image_that_only_it_reads(network, absorbed):
    given = module(network, SHAPE)
    before = fold_thresholds(convert_layout(given))
    (conv,) = [region for region in divide_into_regions(before) if region.kind == "conv2d"]
    assert (conv.inputs() == list(before["main"].params)) == absorbed
    x = random_floats(0, *SHAPE)
    assert_same(run(before, [x]), run(fuse_regions(before), [x]))
    for target in TARGETS:
        assert_same(run(given, [x]), run_lowered(given, [x], target), atol=1e-5)
