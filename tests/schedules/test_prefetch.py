"""Which weights are fetched before they are used."""

from __future__ import annotations

import pytest
from bnn_tvm.schedules import RULES
from bnn_tvm.schedules.rule import apply_first
from relax_harness import kernels_of_kind, lower, module, random_floats, random_signs

from bnn_tvm.target import get_target

TARGET = "x86-64-vpopcntdq"


def scheduled(body, shape, kind):
    (func,) = kernels_of_kind(lower(module(body, shape), TARGET), kind)
    return apply_first(RULES, func, get_target(TARGET)).func.script()


@pytest.mark.parametrize("channels, is_fetched", [(256, True), (64, False)])
def test_weights_that_many_pixels_use_are_fetched_if_l2_may_not_hold_them(channels, is_fetched):
    def layer(g, x):
        return g.conv(g.pad(g.sign(x), 1, -1.0), random_signs(1, channels, channels, 3, 3))

    script = scheduled(layer, (1, channels, 14, 14), "bitserial_conv2d")
    assert ("T.prefetch" in script) == is_fetched


@pytest.mark.parametrize("outputs", (1000, 1024))
def test_weights_that_are_used_once_are_not(outputs):
    def dense(g, x):
        return g.dense(x, random_floats(1, 512, outputs))

    script = scheduled(dense, (1, 512), "dense")
    assert "T.prefetch" not in script
    # The parts of a sum are added by vectors, too.
    assert {
        line.split("T.vectorized(")[1] for line in script.splitlines() if "T.vectorized(" in line
    } == {"16):"}
