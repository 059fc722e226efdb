"""Schedules of layers of bytes: the instruction is used, whatever the outputs are."""

from __future__ import annotations

import pytest
from bnn_tvm.schedules import RULES
from bnn_tvm.schedules.rule import apply_first
from precision_harness import before_outlining
from relax_harness import kernels_of_kind, module, random_floats, random_signs
from tvm import relax

from bnn_tvm.passes.fuse_regions import fuse_regions
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.quantize_layers import quantize_layers
from bnn_tvm.target import get_target


def scheduled_conv(outputs: int, numbers: bool, bits: bool) -> str:
    """Schedule a convolution of bytes whose result is read as numbers, as bits, or as both."""

    def body(g, x):
        y = g.conv(x, random_floats(1, outputs, 16, 1, 1), "layer")
        heads = [g(relax.op.nn.relu(y))] if numbers else []
        if bits:
            heads.append(g.conv(g.sign(y), random_signs(2, 32, outputs, 1, 1)))
        return heads

    mod = quantize_layers(before_outlining(module(body, (1, 16, 4, 4))), {"layer": (-3.0, 3.0)})
    target = get_target("x86-64-vpopcntdq")
    lowered = lower_regions(fuse_regions(mod), target)
    (kernel,) = kernels_of_kind(lowered, "conv2d_int8")
    return apply_first(RULES, kernel, target).func.script()


@pytest.mark.parametrize("outputs", [32, 64, 256])
@pytest.mark.parametrize("numbers, bits", [(True, False), (False, True), (True, True)])
def test_layers_of_bytes_use_the_instruction_whatever_they_write(outputs, numbers, bits):
    assert "vpdpbusd" in scheduled_conv(outputs, numbers, bits)


def test_fewer_outputs_than_lanes_have_no_instruction():
    assert "vpdpbusd" not in scheduled_conv(8, numbers=True, bits=False)
