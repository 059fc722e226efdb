"""What training learned beside the weights, against the zoo's own count and by hand."""

from __future__ import annotations

import mxnet as mx
import pytest

from bnn_tvm.gluon import nn, to_symbol
from bnn_tvm.importer import graph_from_text
from bnn_tvm.importer.learned import count_other_parameters
from bnn_tvm.zoo import get_model
from bnn_tvm.zoo.summary import summarize


def count(net, shape) -> int:
    net.initialize()
    return count_other_parameters(graph_from_text(*to_symbol(net, shape)))


def sequential(*layers):
    net = nn.HybridSequential()
    net.add(*layers)
    return net


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Conv2D(5, 1, use_bias=False, in_channels=4)], 0),
        ([nn.Conv2D(5, 1, in_channels=4)], 5),
        ([nn.BatchNorm(in_channels=4)], 4 + 4),
        ([nn.BatchNorm(in_channels=4, scale=False)], 4),
        ([nn.QConv2D(5, 1, in_channels=4)], 0),
        ([nn.QConv2D(5, 1, in_channels=4, apply_scaling=True)], 0),
        ([nn.QConv2D(5, 1, in_channels=4, bits=2, quantization="dorefa")], 0),
        ([nn.Flatten(), nn.QDense(3, in_units=4), nn.Dense(2, in_units=3)], 2),
    ],
)
def test_small_networks(layers, expected):
    assert count(sequential(*layers), (1, 4, 1, 1)) == expected


def test_a_parameter_that_is_read_twice_counts_once():
    data, shared = mx.sym.var("data"), mx.sym.var("shared")
    twice = mx.sym.broadcast_add(mx.sym.broadcast_mul(data, shared), shared)
    graph = graph_from_text(twice.tojson(), {"arg:shared": mx.nd.ones((1, 3)).asnumpy()})
    assert count_other_parameters(graph) == 3


@pytest.mark.parametrize("name", ["resnet18_e1", "densenet28", "meliusnet22"])
def test_networks_of_the_zoo(name):
    net, shape = get_model(name), (1, 3, 32, 32)
    layers = summarize(net, shape).layers
    biases_aside = [layer for layer in layers if layer.output_shape and layer.weight_bits == 32]
    found = count(net, shape)
    weights = sum(
        parameter.data().size
        for layer in biases_aside
        for parameter in net.collect_params(f"{layer.name}_weight").values()
    )
    assert found == sum(layer.full_precision for layer in layers) - weights
