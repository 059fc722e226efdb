"""Lowering: bits between layers, numbers for everyone else, each by the kernel it should have."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import (
    TARGETS,
    assert_same,
    kernel_kinds,
    lower,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax, tirx

from bnn_tvm.passes.dataflow import main_bindings
from bnn_tvm.passes.lower_regions import KERNEL_OF_LAYER

op = relax.op
SHAPE = (2, 5, 6, 7)
IDENTITY = np.eye(5, dtype=np.float32).reshape(5, 5, 1, 1)


def data(g, x):
    """A float layer that gives back its input, so that data is NHWC as inside a network."""
    return g.conv(x, IDENTITY)


def pool(g, x, size=(2, 2), strides=(2, 2), padding=(0, 0, 0, 0), **options):
    return g(op.nn.max_pool2d(x, size, strides, padding, **options))


def conv(g, x, channels=5, size=1, seed=1, **options):
    return g.conv(x, random_signs(seed, 4, channels, size, size), **options)


def shortcut_of_the_signs(g, x):
    signs = g.sign(data(g, x))
    return g(op.add(conv(g, signs), g(op.strided_slice(signs, [1], [0], [4]))))


def epilogue_reads_the_signs(g, x):
    signs = g.sign(data(g, x))
    return g(op.add(g.conv(signs, random_signs(1, 5, 5, 1, 1)), signs))


def several_consumers(g, x):
    signs = g.sign(data(g, x))
    return [conv(g, signs), conv(g, g.pad(signs, 1, 1.0), size=3), g(op.multiply(signs, signs))]


def two_outputs(g, x):
    y = g.affine(conv(g, g.sign(data(g, x))), random_floats(2, 4), random_floats(3, 4))
    return [conv(g, g.sign(y), channels=4), y]


def two_outputs_and_shared_difference(limit):
    def body(g, x):
        dot = conv(g, g.sign(data(g, x)))
        shifted = g(op.subtract(dot, relax.const(np.float32(limit))))
        return [conv(g, g.sign(shifted), channels=4), shifted]

    return body


def chain(g, x):
    y = g.affine(conv(g, g.sign(data(g, x))), random_floats(2, 4), random_floats(3, 4))
    return conv(g, g.sign(y), channels=4)


CONV = ["bitserial_conv2d", "conv2d"]
# A network and the kernels it becomes; None where only its numbers matter.
CASES = {
    "one layer": (lambda g, x: conv(g, g.sign(data(g, x)), size=3), CONV),
    "sign of the input": (
        lambda g, x: conv(g, g.sign(x), size=3),
        ["bitpack", "bitserial_conv2d", "elementwise"],
    ),
    "shortcut of signs": (shortcut_of_the_signs, [*CONV, "elementwise"]),
    "signs in the epilogue": (epilogue_reads_the_signs, [*CONV, "elementwise"]),
    "several consumers": (several_consumers, ["bitserial_conv2d", *CONV]),
    "two outputs": (two_outputs, ["bitserial_conv2d", *CONV]),
    "difference with a number": (
        two_outputs_and_shared_difference(1.0),
        ["bitserial_conv2d", *CONV],
    ),
    "tiny difference": (two_outputs_and_shared_difference(1e-30), ["bitserial_conv2d", *CONV]),
    "threshold": (chain, ["bitserial_conv2d", *CONV]),
    "pooled bits": (
        lambda g, x: conv(g, pool(g, g.sign(data(g, x)))),
        ["bitserial_conv2d", "bitserial_max_pool2d", "conv2d"],
    ),
    "pooled bits as numbers": (
        lambda g, x: pool(g, g.sign(data(g, x)), (3, 2), (2, 1), (1, 0, 1, 1)),
        ["bitserial_max_pool2d", "bitunpack", "conv2d"],
    ),
    "pooled bits, both": (
        lambda g, x: (lambda p: [conv(g, p), p])(pool(g, g.sign(data(g, x)), ceil_mode=True)),
        ["bitserial_conv2d", "bitserial_max_pool2d", "bitunpack", "conv2d"],
    ),
    "concatenated signs": (
        lambda g, x: conv(g, g(op.concat([g.sign(data(g, x)), g.sign(x)], 1)), 10),
        ["bitpack", "bitserial_conv2d", "conv2d", "elementwise"],
    ),
    "slice of signs": (
        lambda g, x: conv(g, g(op.strided_slice(g.sign(data(g, x)), [1], [1], [4])), 3),
        ["bitpack", *CONV],
    ),
    "border of more channels": (
        lambda g, x: conv(
            g, g(op.nn.pad(g.sign(data(g, x)), [0, 0, 1, 1, 0, 0, 0, 0], pad_value=1.0)), 7
        ),
        ["bitpack", *CONV],
    ),
    "flattened bits": (
        lambda g, x: g.dense(g(op.reshape(g.sign(data(g, x)), (2, 210))), random_signs(1, 210, 3)),
        ["bitserial_dense", "conv2d"],
    ),
    "grouped": (
        lambda g, x: g.conv(g.sign(data(g, x)), random_signs(1, 5, 1, 3, 3), groups=5),
        None,
    ),
    "several bits behind a layer": (
        lambda g, x: conv(g, g.quantize(data(g, x), 3)),
        ["bitpack", *CONV],
    ),
    "several bits behind an activation": (
        lambda g, x: conv(g, g.quantize(g(op.tanh(data(g, x))), 2)),
        ["bitpack", *CONV],
    ),
    "several bits of the input": (
        lambda g, x: conv(g, g.quantize(x, 2, signed=True)),
        None,
    ),
    "signs of rounded numbers": (
        lambda g, x: conv(g, g.quantize(data(g, x), 1, signed=True)),
        CONV,
    ),
    "border of 0": (lambda g, x: conv(g, g.sign(data(g, x)), size=3, padding=1), None),
}


@pytest.fixture(scope="module")
def float_results():
    """What every case gives in float, from one module."""
    outputs = {}

    def body(g, x):
        results = []
        for name, (network, _) in CASES.items():
            result = network(g, x)
            fields = result if isinstance(result, list) else [result]
            outputs[name] = slice(len(results), len(results) + len(fields))
            results += fields
        return results

    mod, x = module(body, SHAPE), random_floats(0, *SHAPE)
    results = run(mod, [x])
    return {name: results[where] for name, where in outputs.items()}


@pytest.mark.parametrize("name", CASES)
def test_lowered_as_expected_and_right(name, float_results):
    network, kinds = CASES[name]
    mod, x = module(network, SHAPE), random_floats(0, *SHAPE)
    assert kinds is None or kernel_kinds(lower(mod)) == kinds
    assert_same(float_results[name], run_lowered(mod, [x]), atol=1e-5)


def test_all_targets_give_the_same_bits():
    mod, x = module(two_outputs, SHAPE), random_floats(0, *SHAPE)
    first, *others = [run_lowered(mod, [x], target)[0] for target in TARGETS]
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_equal_layers_share_a_kernel_and_are_named_after_it():
    def body(g, x):
        y = g.sign(data(g, x))
        for i in range(3):
            y = g.conv(y, random_signs(i, 5, 5, 1, 1), name=f"layer{i}")
            y = g.sign(y)
        return y

    lowered = lower(module(body, SHAPE))
    kernels = {str(k): str(v) for k, v in lowered.attrs[KERNEL_OF_LAYER].items()}
    assert kernels["layer0"] == kernels["layer1"] != kernels["layer2"]


def test_no_float_region_is_left_behind():
    lowered = lower(module(two_outputs, SHAPE))
    functions = [f for g, f in lowered.functions.items() if g.name_hint != "main"]
    assert all(isinstance(function, tirx.PrimFunc) for function in functions)
    called = {
        str(b.value.args[0].name_hint)
        for b in main_bindings(lowered)
        if isinstance(b.value, relax.Call) and b.value.op.name == "relax.call_tir"
    }
    assert called == {g.name_hint for g in lowered.functions} - {"main"}


def test_results_that_are_constants_or_inputs_pass_through():
    mod = module(lambda g, x: [x, g.sign(relax.const(random_floats(1, 3)))], SHAPE)
    x = random_floats(0, *SHAPE)
    assert_same(run(mod, [x]), run_lowered(mod, [x]))
