"""What stands behind a layer of bytes: before, after, and both run."""

from __future__ import annotations

import numpy as np
import pytest
from precision_harness import before_outlining, run_outlined
from relax_harness import module, operators, random_floats, run
from tvm import relax

from bnn_tvm.passes.fold_scales import fold_scales
from bnn_tvm.passes.quantize_layers import quantize_layers

op = relax.op
SHAPE = (1, 3, 6, 6)
RANGES = {"layer": (-4.0, 4.0)}


def batch_norm(g, y, channels):
    along = (1, channels, 1, 1)
    mean, scale, beta = (relax.const(random_floats(seed, *along)) for seed in (2, 3, 4))
    centred = g(op.subtract(y, mean), "centred")
    return centred, g(op.add(g(op.multiply(centred, scale)), beta))


def quantized(body):
    return quantize_layers(before_outlining(module(body, SHAPE)), RANGES)


def test_a_batch_norm_becomes_part_of_the_scale():
    def body(g, x):
        y = g.conv(x, random_floats(1, 20, 3, 3, 3), "layer")
        return g(op.nn.relu(batch_norm(g, y, 20)[1]))

    mod, x = quantized(body), random_floats(0, *SHAPE)
    folded = fold_scales(mod)
    behind = [name.removeprefix("nn.") for name in operators(mod)]
    assert behind[behind.index("conv2d") :][:6] == [
        "conv2d", "subtract", "astype", "multiply", "subtract", "multiply"
    ]  # fmt: skip
    behind = [name.removeprefix("nn.") for name in operators(folded)]
    assert behind[behind.index("conv2d") :][:6] == [
        "conv2d", "subtract", "astype", "multiply", "add", "relu"
    ]  # fmt: skip
    (before,), (after,), (kernels,) = run(mod, [x]), run(folded, [x]), run_outlined(folded, [x])
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kernels, after, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_read_elsewhere_or_short_stays(shared):
    def body(g, x):
        y = g.conv(x, random_floats(1, 20, 3, 3, 3), "layer")
        if not shared:
            return g(op.add(y, relax.const(random_floats(2, 1, 20, 1, 1))))
        centred, normal = batch_norm(g, y, 20)
        return [centred, normal]

    mod = quantized(body)
    assert operators(fold_scales(mod)) == operators(mod)
