"""Every operator of the importer against MXNet itself."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from importer_harness import assert_each_same, assert_same, random_params, run_module

from bnn_tvm.errors import ModelError
from bnn_tvm.importer import graph_from_text, import_graph

sym = mx.sym
EDGES = np.array([-2.5, -1.5, -0.5, -0.0, 0.0, 0.49999997, 0.5, 1.0, 1.5, 3.25], np.float32)
TIES = np.array([0.5, 1.5, 2.5, 8388609.0, 4194304.5, 0.49999997], np.float32)


def uniform(shape, low=-2.0, high=2.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


UNARY = {
    "abs": sym.abs,
    "ceil": sym.ceil,
    "exp": sym.exp,
    "floor": sym.floor,
    "negative": sym.negative,
    "relu": sym.relu,
    "sigmoid": sym.sigmoid,
    "sign": sym.sign,
    "sign_ste": sym.contrib.sign_ste,
    "square": sym.square,
    "tanh": sym.tanh,
    "trunc": sym.trunc,
    "BlockGrad": sym.BlockGrad,
    "identity": sym.identity,
    "Cast": lambda x: sym.Cast(x, dtype="float32"),
    "Dropout": lambda x: sym.Dropout(x, p=0.9),
    "clip": lambda x: sym.clip(x, a_min=-1, a_max=0.75),
    "act_relu": lambda x: sym.Activation(x, act_type="relu"),
    "act_tanh": lambda x: sym.Activation(x, act_type="tanh"),
    "act_sigmoid": lambda x: sym.Activation(x, act_type="sigmoid"),
    "act_softrelu": lambda x: sym.Activation(x, act_type="softrelu"),
    "leaky_default": sym.LeakyReLU,
    "leaky": lambda x: sym.LeakyReLU(x, act_type="leaky", slope=0.1),
    "plus_scalar": lambda x: x + 3,
    "minus_scalar": lambda x: x - 0.1,
    "rminus_scalar": lambda x: 3 - x,
    "mul_scalar": lambda x: x * 0.3,
    "div_scalar": lambda x: x / 3,
    "rpower_scalar": lambda x: 2**x,
    "power_scalar": lambda x: x**2,
    "maximum_scalar": lambda x: sym.maximum(x, 0.25),
    "minimum_scalar": lambda x: sym.minimum(x, 0.25),
    "equal_scalar": lambda x: x == 0,
    "not_equal_scalar": lambda x: x != 0.5,
    "greater_scalar": lambda x: x > 0.5,
    "greater_equal_scalar": lambda x: x >= 0.5,
    "lesser_scalar": lambda x: x < 0.5,
    "lesser_equal_scalar": lambda x: x <= 0.5,
    "ones_like": lambda x: sym.ones_like(x) * x,
    "zeros_like": lambda x: sym.zeros_like(x) + x,
    "det_sign_composition": lambda x: sym.contrib.sign_ste(x) + (x == 0),
    "gradcancel_composition": lambda x: sym.where(abs(x) <= 1, x, sym.BlockGrad(x)),
    "where_of_number": lambda x: sym.where(x, x + 1, x - 1),
}


def test_operators_of_one_input():
    assert_each_same(UNARY, {"data": EDGES.reshape(2, 5)})


POSITIVE = {"sqrt": sym.sqrt, "log": sym.log, "rsqrt": sym.rsqrt, "rdiv_scalar": lambda x: 3 / x}


def test_operators_of_positive_numbers():
    assert_each_same(POSITIVE, {"data": uniform((2, 3), 0.1, 4)})


ROUNDINGS = {"round": sym.round, "round_ste": sym.contrib.round_ste}


def test_round_sends_halves_away_from_zero():
    assert_each_same(ROUNDINGS, {"data": np.concatenate([TIES, -TIES])}, atol=0)


BINARY = {
    "elemwise_add": sym.elemwise_add,
    "elemwise_sub": sym.elemwise_sub,
    "elemwise_mul": sym.elemwise_mul,
    "elemwise_div": sym.elemwise_div,
    "maximum": sym.maximum,
    "minimum": sym.minimum,
    "power": lambda a, b: sym.pow(abs(a), b),
    "add_n": lambda a, b: sym.add_n(a, b, a * 2),
    "add_n_of_one": lambda a, b: sym.add_n(a) + b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "lesser": lambda a, b: a < b,
    "lesser_equal": lambda a, b: a <= b,
}


def test_operators_of_two_inputs():
    first, second = EDGES.reshape(2, 5), np.roll(EDGES, 3).reshape(2, 5) + np.float32(0.125)
    second[0, :2] = first[0, :2]
    assert_each_same(BINARY, {"a": first, "b": second})


ARITHMETIC = ["add", "sub", "mul", "div", "power", "maximum", "minimum"]
COMPARISONS = ["equal", "not_equal", "greater", "greater_equal", "lesser", "lesser_equal"]


def test_broadcasting_operators():
    builders = {name: getattr(sym, f"broadcast_{name}") for name in ARITHMETIC + COMPARISONS}
    inputs = {"a": uniform((2, 3, 4), 0.5, 2), "b": uniform((1, 3, 1), 0.5, 2, seed=1)}
    inputs["a"][0, :, 0] = inputs["b"][0, :, 0]
    assert_each_same(builders, inputs)


CONVOLUTIONS = {
    "plain": ((2, 3, 6, 5), {"kernel": (3, 2), "num_filter": 4}),
    "no_bias": ((2, 3, 6, 5), {"kernel": (3, 3), "num_filter": 4, "no_bias": True}),
    "everything": (
        (2, 4, 9, 8),
        {
            "kernel": (3, 2),
            "num_filter": 6,
            "num_group": 2,
            "stride": (2, 1),
            "pad": (2, 1),
            "dilate": (1, 3),
        },
    ),
    "one_dimension": ((2, 3, 9), {"kernel": (3,), "num_filter": 4, "pad": (1,), "stride": (2,)}),
    "three_dimensions": ((1, 2, 5, 4, 3), {"kernel": (2, 3, 1), "num_filter": 3, "pad": (1, 0, 1)}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name):
    shape, attributes = CONVOLUTIONS[name]
    symbol = sym.Convolution(sym.var("data"), name="conv0", **attributes)
    assert_same(symbol, {"data": uniform(shape)}, random_params(symbol, data=shape))


@pytest.mark.parametrize(
    "shape, attributes",
    [
        ((3, 5), {}),
        ((3, 5), {"no_bias": True}),
        ((2, 3, 4), {}),
        ((2, 3, 4), {"flatten": False}),
        ((2, 3, 2, 2), {"no_bias": True}),
    ],
)
def test_fully_connected(shape, attributes):
    symbol = sym.FullyConnected(sym.var("data"), name="fc0", num_hidden=6, **attributes)
    assert_same(symbol, {"data": uniform(shape)}, random_params(symbol, data=shape))


def test_weight_may_be_computed_from_a_parameter():
    weight = sym.contrib.sign_ste(sym.var("fc0_weight"))
    symbol = sym.FullyConnected(sym.var("data"), weight, num_hidden=2, no_bias=True, name="fc0")
    params = {"fc0_weight": uniform((2, 5))}
    assert_same(symbol, {"data": uniform((3, 5))}, params)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"fix_gamma": False}, {"fix_gamma": False, "eps": 2e-5}, {"fix_gamma": False, "axis": 2}],
)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (4, 3, 2)])
def test_batch_norm(shape, attributes):
    symbol = sym.BatchNorm(sym.var("data"), name="bn0", **attributes)
    assert_same(symbol, {"data": uniform(shape)}, random_params(symbol, data=shape))


def test_batch_norm_of_rows():
    symbol = sym.BatchNorm(sym.var("data"), name="bn0", fix_gamma=False)
    params = random_params(symbol, data=(5, 3))
    assert_same(symbol, {"data": uniform((5, 3))}, params)


POOLINGS = [
    {"kernel": (2, 2), "stride": (2, 2)},
    {"kernel": (3, 2), "stride": (2, 3), "pad": (1, 1)},
    {"kernel": (3, 3), "stride": (2, 2), "pooling_convention": "full"},
    {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1), "pooling_convention": "full"},
    {"kernel": (2, 2), "stride": (3, 3), "pad": (1, 1), "pooling_convention": "full"},
    {"kernel": (2, 3)},
    {"kernel": (2, 2), "global_pool": True, "stride": (2, 2), "pad": (1, 1)},
    {"kernel": (1, 1), "global_pool": True, "pooling_convention": "full"},
]


def pooling(**attributes):
    return lambda x: sym.Pooling(x, **attributes)


@pytest.mark.parametrize("kind", ["max", "avg", "sum"])
def test_pooling(kind):
    builders = {str(a): pooling(pool_type=kind, **a) for a in POOLINGS}
    assert_each_same(builders, {"data": uniform((1, 2, 7, 6)) - 3})


def test_average_without_padding_in_the_count():
    builders = {
        str(a): pooling(pool_type="avg", count_include_pad=False, **a) for a in POOLINGS[1:5]
    }
    assert_each_same(builders, {"data": uniform((1, 2, 7, 6)) - 3})


@pytest.mark.parametrize("shape", [(1, 2, 7), (1, 2, 4, 5, 3)])
def test_pooling_of_other_ranks(shape):
    kernel = (2,) * (len(shape) - 2)
    builders = {
        kind: pooling(kernel=kernel, stride=kernel, pool_type=kind) for kind in ("max", "avg")
    }
    assert_each_same(builders, {"data": uniform(shape)})


REDUCTIONS = [
    {},
    {"axis": 1},
    {"axis": (0, 2), "keepdims": True},
    {"axis": 0, "exclude": True, "keepdims": True},
    {"axis": -1, "exclude": True},
    {"keepdims": True},
]


@pytest.mark.parametrize("reduce", [sym.mean, sym.max, sym.min, sym.sum])
def test_reduction(reduce):
    builders = {str(a): lambda x, a=a: reduce(x, **a) for a in REDUCTIONS}
    assert_each_same(builders, {"data": uniform((2, 3, 4))})


RESHAPES = [
    (24,),
    (0, -1),
    (-2,),
    (0, -2),
    (-3, 4),
    (0, -3),
    (0, -4, 3, -1, 0),
    (-4, 1, 2, -2),
    (0, -4, -1, 3, -2),
    (-1, 6),
    (0, 0, -4, 2, 2),
    (4, 6),
    (2, 0, -1),
    (-1, 0, 4),
    (0, 0, 4, 1),
]


def test_reshape_codes():
    builders = {str(c): lambda x, c=c: sym.Reshape(x, shape=c) for c in RESHAPES}
    assert_each_same(builders, {"data": uniform((2, 3, 4))})


def test_channel_shuffle():
    x = sym.Reshape(sym.var("data"), shape=(0, -4, 3, -1, -2))
    x = sym.SwapAxis(x, dim1=1, dim2=2)
    assert_same(sym.Reshape(x, shape=(0, -3, -2)), {"data": uniform((2, 6, 3, 2))})


SHAPE_OPERATORS = {
    "Flatten": sym.Flatten,
    "transpose": sym.transpose,
    "transpose_axes": lambda x: sym.transpose(x, axes=(0, 2, 3, 1)),
    "SwapAxis": lambda x: sym.SwapAxis(x, dim1=1, dim2=3),
    "expand_dims": lambda x: sym.expand_dims(x, axis=1),
    "squeeze": lambda x: sym.squeeze(sym.expand_dims(x, axis=0), axis=0),
    "slice_axis": lambda x: sym.slice_axis(x, axis=1, begin=1, end=3),
    "slice_axis_from_end": lambda x: sym.slice_axis(x, axis=-1, begin=-2, end=None),
    "Pad": lambda x: sym.Pad(
        x, mode="constant", constant_value=-1, pad_width=(0, 0, 0, 0, 1, 2, 0, 3)
    ),
    "Pad_default": lambda x: sym.Pad(x, mode="constant", pad_width=(0, 0, 0, 0, 1, 1, 1, 1)),
    "Concat": lambda x: sym.Concat(x, x + 1),
    "Concat_dim": lambda x: sym.Concat(x, x + 1, x * 2, dim=2),
    "full": lambda x: sym.broadcast_add(x, sym.full((1, 4, 1, 1), 0.3)),
    "ones": lambda x: sym.broadcast_add(x, sym.ones((1, 4, 1, 1))),
    "size_array": lambda x: sym.broadcast_add(x, sym.cast(sym.size_array(x), dtype="float32")),
    "zeros": lambda x: sym.broadcast_add(x, sym.zeros((1, 4, 1, 1))),
}


def test_shape_operators():
    assert_each_same(SHAPE_OPERATORS, {"data": uniform((2, 4, 3, 5))})


SOFTMAXES = {
    "softmax": sym.softmax,
    "softmax_axis": lambda x: sym.softmax(x, axis=1, temperature=2.0),
    "log_softmax": sym.log_softmax,
}


def test_softmaxes():
    assert_each_same(SOFTMAXES, {"data": uniform((2, 3, 2, 2))})


@pytest.mark.parametrize(
    "shape, label, attributes",
    [
        ((2, 3), (2,), {}),
        ((2, 3, 4), (2, 3), {}),
        ((2, 3, 4), (2, 4), {"multi_output": True}),
        ((2, 3, 4), (2, 3), {"preserve_shape": True}),
    ],
)
def test_softmax_output_ignores_its_label(shape, label, attributes):
    symbol = sym.SoftmaxOutput(sym.var("data"), sym.var("label"), **attributes)
    data = uniform(shape)
    module = import_graph(graph_from_text(symbol.tojson(), {}), {"data": shape})
    bound = symbol.bind(mx.cpu(), {"data": mx.nd.array(data), "label": mx.nd.zeros(label)})
    expected = bound.forward(is_train=False)[0].asnumpy()
    np.testing.assert_allclose(run_module(module, data)[0], expected, rtol=1e-5, atol=1e-6)


def test_wrong_shapes_are_told_with_the_node():
    symbol = sym.broadcast_add(sym.var("a"), sym.var("b"), name="sum0")
    with pytest.raises(ModelError, match="sum0"):
        import_graph(graph_from_text(symbol.tojson(), {}), {"a": (2, 3), "b": (2, 4)})
