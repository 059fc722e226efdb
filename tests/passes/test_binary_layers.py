"""Which layers can run on bits, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import module, random_floats, random_signs
from tvm import relax

from bnn_tvm.passes.binary import is_one_bit, padding_value, reason_not_binary
from bnn_tvm.passes.dataflow import main_bindings

op = relax.op
SHAPE = (2, 4, 6, 5)


def last_layer(body, shape=SHAPE):
    """Return the layer that a body ends with, and how to look values up."""
    bindings = main_bindings(module(body, shape))
    values = {binding.var: binding.value for binding in bindings}
    layers = [v for v in values.values() if getattr(v, "attrs", None) and "nn.conv" in str(v.op)]
    products = [v for v in values.values() if "matmul" in str(getattr(v, "op", ""))]
    return (layers + products)[-1], lambda e: values.get(e) if isinstance(e, relax.Var) else None


def channels_last(g, x, weight, **options):
    layouts = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
    return g(op.nn.conv2d(x, relax.const(weight), **layouts, **options))


WEIGHT = random_signs(1, 3, 2, 2, 5)


@pytest.mark.parametrize(
    "body, reason",
    [
        (lambda g, x: channels_last(g, g.sign(x), WEIGHT), ""),
        (lambda g, x: channels_last(g, g.quantize(x, 8), WEIGHT), ""),
        (lambda g, x: channels_last(g, x, WEIGHT), "its input is not proven to be of 1 to 8 bits"),
        (
            lambda g, x: channels_last(g, g.sign(x), random_floats(1, 3, 2, 2, 5)),
            "its weights are not of 1 to 8 bits",
        ),
        (lambda g, x: g.dense(g.sign(x), random_signs(1, 5, 3)), "its input has 4 dimensions"),
    ],
)
def test_reasons(body, reason):
    found = reason_not_binary(*last_layer(body))
    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize("inputs, fits", [(16512, True), (16513, False)])
def test_sums_that_may_overflow_are_left_in_float(inputs, fits):
    """Twice 255 * 255 * inputs must stay below 2**31."""
    levels = np.arange(-255, 257, 2, dtype=np.float32) / np.float32(255)
    weight = np.resize(levels, (inputs, 1))
    found = reason_not_binary(
        *last_layer(lambda g, x: g.dense(g.quantize(x, 8), weight), (1, inputs))
    )
    assert found == ("" if fits else "sums of its 16513 products may not fit into 32 bits")


@pytest.mark.parametrize(
    "value, one_bit", [(None, True), (-1.0, True), (1.0, True), (0.0, False), (0.5, False)]
)
def test_products_of_a_border_count(value, one_bit):
    def body(g, x):
        signs = g.sign(x)
        if value is not None:
            signs = g(op.nn.pad(signs, [0, 0, 1, 1, 1, 1, 0, 0], pad_value=value))
        return channels_last(g, signs, WEIGHT)

    layer = last_layer(body)
    assert padding_value(*layer) == value
    assert is_one_bit(*layer) == one_bit


def test_a_border_of_the_layer_itself_is_of_zeros():
    layer = last_layer(lambda g, x: channels_last(g, g.sign(x), WEIGHT, padding=1))
    assert padding_value(*layer) == 0.0
    assert not is_one_bit(*layer)


def test_several_bits_are_not_one_bit():
    assert not is_one_bit(*last_layer(lambda g, x: channels_last(g, g.quantize(x, 2), WEIGHT)))
    assert not is_one_bit(*last_layer(lambda g, x: channels_last(g, g.quantize(x, 1), WEIGHT)))
