"""What the manifest says of layers and kernels, against what was compiled."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import lower, module, random_floats, random_signs
from tvm import relax

from bnn_tvm.build import schedule_module
from bnn_tvm.passes.pipeline import FLOAT_PASSES
from bnn_tvm.report import describe_kernels, describe_layers
from bnn_tvm.target import get_target

TARGET = "x86-64"
op = relax.op


def network(g, x):
    y = g.conv(x, random_floats(1, 16, 3, 3, 3), "stem", padding=1)
    dot = g.conv(g.pad(g.sign(y), 1, -1.0), random_signs(2, 32, 16, 3, 3), "wide")
    folded = g.sign(g.affine(dot, random_floats(3, 32), random_floats(4, 32)))
    dot = g.conv(folded, random_signs(5, 8, 32, 1, 1), "shared")
    plain = g.conv(folded, random_floats(6, 8, 32, 1, 1), "plain")
    row = g(op.reshape(g.sign(g(op.add(dot, plain))), (1, 8 * 16)))
    return g.dense(row, random_signs(7, 128, 5), "scores")


@pytest.fixture(scope="module")
def described():
    imported = module(network, (1, 3, 4, 4))
    divided = imported
    for apply in FLOAT_PASSES[:-1]:
        divided = apply(divided)
    lowered = lower(imported, TARGET)
    layers = describe_layers(imported, divided, lowered)
    kernels = describe_kernels(schedule_module(lowered, get_target(TARGET)), layers)
    return {layer.name: layer for layer in layers}, {kernel.name: kernel for kernel in kernels}


def test_layers_come_in_order_with_reasons_in_words(described):
    layers, _ = described
    assert list(layers) == ["stem", "wide", "shared", "plain", "scores"]
    reasons = {name: layer.reason for name, layer in layers.items()}
    assert reasons["wide"] == reasons["shared"] == reasons["scores"] == ""
    assert "weights" in reasons["plain"] and "weights" in reasons["stem"]
    assert {name for name, layer in layers.items() if layer.lowered} == {"wide", "shared", "scores"}


def test_shapes_and_work_are_those_of_the_model(described):
    layers, _ = described
    wide, scores = layers["wide"], layers["scores"]
    assert (wide.op, wide.output_shape, wide.weight_shape) == (
        "conv2d",
        (1, 32, 4, 4),
        (32, 16, 3, 3),
    )
    assert wide.input_shape == (1, 16, 4, 4)
    assert wide.macs == 32 * 16 * 16 * 9
    assert (scores.op, scores.input_shape, scores.weight_shape, scores.macs) == (
        "dense",
        (1, 128),
        (5, 128),
        640,
    )
    assert (wide.weight_bits, wide.activation_bits) == (1, 1)
    assert (layers["stem"].weight_bits, layers["plain"].activation_bits) == (32, 1)


def test_padding_and_epilogue(described):
    layers, _ = described
    assert layers["wide"].padding == "1,1 value -1"
    assert layers["stem"].padding == "1,1 value 0"
    assert layers["shared"].padding == ""
    assert layers["wide"].epilogue.startswith("threshold")


def test_weights_take_what_the_package_stores(described):
    layers, _ = described
    # 16 channels fill half of their 32-bit groups.
    assert layers["wide"].weight_bytes == 32 * 9 * 32 // 8
    # Its signs are packed, so its 16 filters are filled up to 32.
    assert layers["stem"].weight_bytes == 4 * 32 * 27


def test_kernels_name_their_layers_arguments_and_rule(described):
    layers, kernels = described
    for name, layer in layers.items():
        assert name in kernels[layer.kernel].layers
        assert kernels[layer.kernel].binary == layer.lowered
        assert kernels[layer.kernel].macs == layer.macs
    for kernel in kernels.values():
        names = [argument.name for argument in kernel.arguments[-kernel.num_outputs :]]
        others = [argument.name for argument in kernel.arguments[: -kernel.num_outputs]]
        outputs = ("result", "pack", "accumulate", "T_transpose", "unpack")
        assert all(name.startswith(outputs) for name in names)
        assert not any(name.startswith(outputs) for name in others)
        assert kernel.source in ("hand", "portable") and kernel.rule
        assert all(np.dtype(argument.dtype) for argument in kernel.arguments)


def test_the_last_arguments_are_the_outputs(described):
    layers, kernels = described
    scores = kernels[layers["scores"].kernel]
    assert scores.num_outputs == 1
    assert (scores.arguments[-1].shape, scores.arguments[-1].dtype) == ((1, 5), "float32")
