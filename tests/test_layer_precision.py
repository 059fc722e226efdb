"""What each float layer gets of a lower precision, by target and by shape."""

from __future__ import annotations

import pytest
from precision_harness import before_outlining
from relax_harness import module, random_floats, random_signs
from tvm import relax

from bnn_tvm.layer_precision import plan_layers
from bnn_tvm.target import get_target

op = relax.op
WIDE, NARROW = (1024, 512), (40, 512)


def network(weight_shape, rows):
    """Build a float stem, a binary convolution, and a float classifier of so many rows."""

    def body(g, x):
        y = g.conv(x, random_floats(1, 64, 3, 3, 3), "stem")
        bits = g.conv(g.sign(y), random_signs(2, 8, 64, 4, 4), "binary")
        mean = g(op.reshape(bits, (rows, weight_shape[0])))
        return g.dense(mean, random_floats(3, *weight_shape), "head")

    inputs = weight_shape[0] // 8
    return before_outlining(module(body, (rows, 3, 6, inputs + 5)))


def chosen(precision, target, weight_shape=WIDE, rows=1):
    layers = plan_layers(network(weight_shape, rows), precision, get_target(target))
    assert all(layer.reason for layer in layers)
    return {layer.layer: layer.precision for layer in layers}


@pytest.mark.parametrize(
    "target, stem, head",
    [
        ("x86-64-zen4", "bf16", "bf16"),
        ("x86-64-vpopcntdq", "float32", "bf16 weights"),
        ("x86-64-avx2", "float32", "bf16 weights"),
        ("cortex-a72", "float32", "bf16 weights"),
        # Its loops are scalar: widening costs more than the bytes that it saves.
        ("x86-64", "float32", "float32"),
    ],
)
def test_bf16_is_for_fast_products_and_for_layers_that_wait_for_weights(target, stem, head):
    assert chosen("bf16", target) == {"stem": stem, "head": head}


@pytest.mark.parametrize("shape, rows", [(NARROW, 1), (WIDE, 16)])
def test_layers_that_do_not_wait_for_their_weights_stay_in_float32(shape, rows):
    layers = chosen("bf16", "x86-64-vpopcntdq", shape, rows)
    assert layers == {"stem": "float32", "head": "float32"}


@pytest.mark.parametrize("precision, expected", [("bf16", "float32"), ("int8", "int8")])
def test_stems_in_half_the_products_stay_in_float32_for_half_the_bits(precision, expected):
    def body(g, x):
        image = g(op.multiply(x, relax.const(random_floats(4, 1, 3, 1, 1))))
        return g.conv(image, random_floats(1, 64, 3, 7, 7), "stem", strides=2, padding=3)

    mod = before_outlining(module(body, (1, 3, 32, 32)))
    (layer,) = plan_layers(mod, precision, get_target("x86-64-zen4"))
    assert (layer.layer, layer.precision) == ("stem", expected)


def test_int8_is_for_all_whose_sums_fit():
    assert chosen("int8", "x86-64-vpopcntdq") == {"stem": "int8", "head": "int8"}


def test_layers_of_other_operators_stay_in_float32():
    mod = before_outlining(module(lambda g, x, w: g(op.matmul(x, w), "product"), (1, 8), (8, 4)))
    (layer,) = plan_layers(mod, "int8", get_target("x86-64-vpopcntdq"))
    assert (layer.layer, layer.precision) == ("product", "float32")
