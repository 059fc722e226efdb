"""The roofline: what bounds a layer, and what a network's sum counts."""

from __future__ import annotations

import pytest
from results_by_hand import kernel

from benchmarks.roofline import Roof, share_outside_convolutions

ROOF = Roof(binary=2e12, fma=1e11, bytes_per_second=1e11, int8=4e11)


@pytest.mark.parametrize(
    ("facts", "seconds"),
    [
        ({"macs": 10**9, "binary": True}, 1e-3),
        ({"macs": 10**9}, 2e-2),
        ({"macs": 10**9, "kind": "conv2d_int8"}, 5e-3),
        ({"macs": 10**6, "binary": True, "nbytes": 10**8}, 1e-3),
        ({"macs": 10**6, "nbytes": 10**8}, 1e-3),
    ],
)
def test_a_layer_is_bound_by_its_slowest_resource(facts, seconds):
    assert ROOF.bound(kernel("layer", **facts)) == pytest.approx(seconds)


def test_a_network_sums_its_layers_as_often_as_they_run():
    layers = [kernel("a", macs=10**9, binary=True, uses=3), kernel("b", macs=10**9)]
    moves = [kernel("pool", nbytes=10**12, kind="max_pool2d")]
    assert ROOF.network_bound(layers + moves) == pytest.approx(3e-3 + 2e-2)


def test_only_convolutions_are_inside():
    kernels = [
        kernel("a", kind="bitserial_conv2d", seconds=1.0, uses=2),
        kernel("b", kind="conv2d", seconds=1.0),
        kernel("c", kind="dense", seconds=0.5),
        kernel("d", kind="elementwise", seconds=0.25, uses=2),
    ]
    assert share_outside_convolutions(kernels) == pytest.approx(0.25)
