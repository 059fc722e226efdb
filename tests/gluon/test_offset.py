"""n in (dot + n)/2 comes from shapes: no order of calls may lead to a wrong graph."""

import json

import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import HybridBlock
from numpy.testing import assert_array_equal

from bnn_tvm.gluon import nn
from bnn_tvm.gluon.offset import trace_with_known_shapes

pytestmark = pytest.mark.filterwarnings("ignore:Cannot decide type")


class TwoBranches(HybridBlock):
    """A user's own block, not a container."""

    def __init__(self):
        super().__init__(prefix="user_")
        with self.name_scope():
            self.act = nn.QActivation()
            self.conv = nn.QConv2D(6, 3, padding=1)
            self.dense = nn.QDense(5)

    def hybrid_forward(self, F, x):  # noqa: N803
        x = self.act(x)
        return self.dense(x), self.conv(x)


def sequential():
    net = nn.HybridSequential(prefix="user_")
    with net.name_scope():
        net.add(
            nn.QActivation(),
            nn.QConv2D(6, 3, padding=1),
            nn.BatchNorm(),
            nn.QActivation(),
            nn.QConv2D(4, 3),
            nn.Flatten(),
            nn.QActivation(),
            nn.QDense(5),
        )
    return net


X = np.random.default_rng(3).uniform(-1, 1, (2, 3, 5, 5)).astype(np.float32)


def outputs(net):
    out = net(mx.nd.array(X))
    return [o.asnumpy() for o in (out if isinstance(out, list | tuple) else [out])]


def initialized(build):
    mx.random.seed(11)
    net = build()
    net.initialize(mx.init.Uniform(1))
    return net


def exported(net, directory):
    net.export(str(directory / "net"))
    nodes = json.loads((directory / "net-symbol.json").read_text())["nodes"]
    loaded = mx.gluon.SymbolBlock.imports(
        str(directory / "net-symbol.json"), ["data"], str(directory / "net-0000.params")
    )
    return nodes, loaded


def offsets(nodes):
    assert not any(node["op"] == "size_array" for node in nodes)
    return [float(n["attrs"]["scalar"]) for n in nodes if n["op"] == "_plus_scalar"]


@pytest.mark.parametrize(
    ("build", "expected"), [(sequential, [27, 54, 36]), (TwoBranches, [75, 27])]
)
def test_hybridizing_before_any_forward_gives_the_right_graph(tmp_path, build, expected):
    reference = outputs(initialized(build))
    net = initialized(build)
    net.hybridize()
    hybrid = outputs(net)
    nodes, loaded = exported(net, tmp_path)
    assert offsets(nodes) == expected
    for value, again, imported in zip(reference, hybrid, outputs(loaded), strict=True):
        assert_array_equal(again, value)
        assert_array_equal(imported, value)


def test_hybridizing_after_a_forward_gives_the_same_graph(tmp_path):
    net = initialized(sequential)
    reference = outputs(net)
    net.hybridize()
    assert_array_equal(outputs(net), reference)
    nodes, _ = exported(net, tmp_path)
    assert offsets(nodes) == [27, 54, 36]


@pytest.mark.parametrize("build", [lambda: nn.QConv2D(6, 3), lambda: nn.QDense(5)])
def test_a_hybridized_layer_alone(build):
    expected = outputs(initialized(build))
    hybrid = initialized(build)
    hybrid.hybridize()
    assert_array_equal(outputs(hybrid), expected)


def test_a_symbol_traced_without_shapes_is_right_all_the_same():
    net = initialized(sequential)
    symbol = net(mx.sym.var("data"))
    assert '"size_array"' in symbol.tojson()
    reference = outputs(net)[0]
    values = {name: p.data() for name, p in net.collect_params().items()}
    executor = symbol.bind(
        mx.cpu(),
        {name: values[name] for name in symbol.list_arguments() if name != "data"}
        | {"data": mx.nd.array(X)},
        aux_states={name: values[name] for name in symbol.list_auxiliary_states()},
    )
    assert_array_equal(executor.forward()[0].asnumpy(), reference)


def test_a_symbol_traced_with_given_channels_holds_numbers():
    symbol = nn.QConv2D(6, 3, in_channels=4)(mx.sym.var("data"))
    assert offsets(json.loads(symbol.tojson())["nodes"]) == [36]


def test_training_goes_on_after_the_first_hybridized_call():
    net = initialized(sequential)
    net.hybridize()
    data = mx.nd.array(X)
    with mx.autograd.record():
        loss = net(data).sum()
    loss.backward()
    gradient = net[-1].weight.grad().asnumpy()
    assert gradient.shape == (5, 36)
    assert np.abs(gradient).max() > 0


def test_a_wrong_input_gives_mxnets_own_error():
    net = initialized(sequential)
    net.hybridize()
    with pytest.raises(ValueError, match="shape cannot be inferred"):
        net(mx.nd.zeros((2, 3)))


def test_installing_the_shape_inference_twice_changes_nothing():
    before = HybridBlock._build_cache
    trace_with_known_shapes()
    assert HybridBlock._build_cache is before
