"""The residual and the dense networks: structure, names, options."""

import json

import mxnet as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bnn_tvm.errors import ModelError
from bnn_tvm.gluon import nn, to_symbol
from bnn_tvm.zoo import get_model, model_names, model_options
from bnn_tvm.zoo.blocks import ChannelShuffle, ImprovementUnit
from bnn_tvm.zoo.summary import summarize

IMAGE = (1, 3, 64, 64)
FLEX = {"block_config": (1, 2), "reduction": (2,)}
SMALL_FLEX = {**FLEX, "init_features": 32, "growth_rate": 32, "classes": 5}


def initialized(name, **options):
    mx.random.seed(3)
    net = get_model(name, **options)
    net.initialize(mx.init.Xavier(magnitude=2))
    return net


def nodes_of(net, shape=IMAGE):
    return json.loads(to_symbol(net, shape)[0])["nodes"]


def operators(net, shape=IMAGE):
    return [node["op"] for node in nodes_of(net, shape) if node["op"] != "null"]


def binary_layers(net, shape=IMAGE):
    return [layer for layer in summarize(net, shape).layers if layer.is_binary]


def image(shape=IMAGE):
    return mx.nd.array(np.random.default_rng(0).standard_normal(shape))


BINARY_CONVOLUTIONS = {
    "resnet18_e1": 16,
    "resnet34_e1": 32,
    "resnet18_e2": 16,
    "resnet34_e2": 32,
    "densenet28": 23,
    "densenet37": 32,
    "densenet45": 40,
    "meliusnet22": 34,
    "meliusnet29": 48,
    "meliusnet42": 74,
    "meliusnet59": 108,
    "meliusnet_a": 40,
    "meliusnet_b": 48,
    "meliusnet_c": 48,
}


@pytest.mark.parametrize("name", BINARY_CONVOLUTIONS)
def test_number_and_names_of_the_binary_convolutions(name):
    layers = binary_layers(get_model(name))
    assert len(layers) == BINARY_CONVOLUTIONS[name]
    assert all("qconv" in layer.name for layer in layers)
    assert len({layer.name for layer in layers}) == len(layers)


def test_every_network_is_in_a_test_of_its_structure():
    others = {"lenet", "densenet_flex", "meliusnet_flex"}
    assert set(model_names()) == set(BINARY_CONVOLUTIONS) | others


# Counts of node kinds in the graphs that BMXNet v2 exports (without the final softmax).
@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        (
            "resnet18_e1",
            {},
            {"Convolution": 20, "BatchNorm": 22, "Pad": 16, "elemwise_add": 16, "Pooling": 5},
        ),
        (
            "densenet28",
            {"initial_layers": "grouped_stem"},
            {"Convolution": 29, "BatchNorm": 30, "Pad": 23, "Concat": 23, "Pooling": 5},
        ),
    ],
)
def test_node_counts_are_those_of_published_graphs(name, options, counts):
    found = operators(initialized(name, **options))
    # One addition in each binary layer belongs to its sign.
    kinds = ["Pad" if op in ("pad", "Pad") else op for op in found]
    signs = sum(op == "_contrib_sign_ste" for op in found)
    counted = {kind: kinds.count(kind) for kind in counts}
    if "elemwise_add" in counted:
        counted["elemwise_add"] -= signs
    assert counted == counts


@pytest.mark.parametrize("name", ["resnet18_e1", "resnet18_e2", "densenet28", "meliusnet22"])
def test_hybridized_equals_imperative(name):
    net = initialized(name, classes=10)
    expected = net(image()).asnumpy()
    net.hybridize()
    assert_allclose(net(image()).asnumpy(), expected, rtol=1e-5, atol=1e-5)
    assert expected.shape == (1, 10)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("name", ["resnet18_e1", "resnet34_e2", "densenet_flex", "meliusnet_flex"])
def test_a_network_exports_before_any_forward_pass(name):
    options = SMALL_FLEX if "flex" in name else {}
    net = initialized(name, **options)
    nodes = nodes_of(net, None)  # no shape given: every parameter has one
    names = [node["name"] for node in nodes]
    assert len(names) == len(set(names))
    offsets = [node for node in nodes if node["op"] == "_plus_scalar" and "qconv" in node["name"]]
    assert len(offsets) == len(binary_layers(net))
    assert {node["op"] for node in nodes}.isdisjoint({"size_array", "broadcast_add"})
    assert any("qactivation" in name for name in names)


def test_names_are_the_same_every_time():
    first, second = (list(get_model("resnet18_e1").collect_params()) for _ in range(2))
    assert first == second
    assert "resnete1_stage1_qconv0_weight" in first
    assert "resnete1_stage2_sc_conv_weight" in first
    assert next(iter(get_model("densenet28", prefix="a_").collect_params())) == "a_conv0_weight"


def test_parameters_can_be_shared():
    net = initialized("resnet18_e1", classes=3)
    twin = get_model("resnet18_e1", classes=3, params=net.collect_params())
    assert_array_equal(twin(image()).asnumpy(), net(image()).asnumpy())


@pytest.mark.parametrize("name", ["resnet18_e1", "densenet28", "meliusnet22"])
def test_the_thumbnail_stem_keeps_the_size_of_the_image(name):
    net = get_model(name, initial_layers="thumbnail", in_channels=1, classes=4)
    layers = summarize(net, (1, 1, 32, 32)).layers
    assert next(x for x in layers if x.macs).output_shape == (1, 64, 32, 32)
    assert [x for x in layers if x.is_binary][-1].output_shape[2:] == (4, 4)


def test_a_residual_network_takes_images_of_odd_sizes():
    net = initialized("resnet18_e1", initial_layers="thumbnail", in_channels=1, classes=3)
    assert net(image((1, 1, 28, 28))).shape == (1, 3)
    assert net(image((1, 1, 25, 31))).shape == (1, 3)


def test_options_of_a_network_are_listed():
    assert "slices" in model_options("resnete18")
    assert model_options("lenet") == ("classes",)
    with pytest.raises(ModelError, match="unknown"):
        model_options("alexnet")


def test_the_second_version_normalizes_before_the_convolution():
    kinds = [type(layer).__name__ for layer in get_model("resnet18_e2")]
    assert kinds.count("BatchNorm") == 3  # input, inside the stem, before the classifier
    first = get_model("resnet18_e2")[5][0]
    assert [type(child).__name__ for child in first._children.values()] == [
        "BatchNorm",
        "BinaryConvolution",
    ]


def shortcut_of(net):
    """The layers of the first shortcut that changes the shape."""
    stages = [layer for layer in net if "stage2" in layer.prefix]
    return [type(child).__name__ for child in stages[0][0].shortcut]


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, ["AvgPool2D", "Conv2D", "BatchNorm"]),
        ({"pool_downsample_sc": False}, ["Conv2D", "BatchNorm"]),
        ({"fp_downsample_sc": False}, ["AvgPool2D", "BinaryConvolution", "BatchNorm"]),
        (
            {"fp_downsample_sc": False, "pool_downsample_sc": False},
            ["BinaryConvolution", "BatchNorm"],
        ),
    ],
)
def test_options_of_the_shortcut(options, kinds):
    net = initialized("resnet18_e1", classes=3, **options)
    assert shortcut_of(net) == kinds
    assert net(image()).shape == (1, 3)
    assert len(binary_layers(net)) == 16 + 3 * ("BinaryConvolution" in kinds)


def test_a_binary_shortcut_has_its_own_name():
    names = [x.name for x in binary_layers(get_model("resnet18_e1", fp_downsample_sc=False))]
    assert [name for name in names if "sc" in name] == [
        f"resnete1_stage{stage}_sc_qconv" for stage in (2, 3, 4)
    ]


def test_groups_of_the_shortcut_divide_its_weights():
    counts = [
        summarize(get_model("resnet18_e1", downsample_sc_groups=g), IMAGE).full_precision_parameters
        for g in (1, 4)
    ]
    shortcuts = 64 * 128 + 128 * 256 + 256 * 512
    assert counts[0] - counts[1] == shortcuts * 3 // 4


@pytest.mark.parametrize("name", ["resnet18_e1", "resnet18_e2"])
@pytest.mark.parametrize("slices", [2, 4])
def test_slices_split_every_unit_that_keeps_the_size(name, slices):
    net = initialized(name, slices=slices, classes=3)
    layers = binary_layers(net)
    assert len(layers) == 13 * slices + 3
    assert [x.output_shape[1] for x in layers[:slices]] == [64 // slices] * slices
    # As many weights as without slices: each unit sees all channels and makes a part of them.
    assert sum(x.weights for x in layers) == 10_985_472
    assert net(image()).shape == (1, 3)


def test_a_sliced_unit_changes_its_part_only():
    net = initialized("resnet18_e1", slices=4)
    stage = next(layer for layer in net if "stage1" in layer.prefix)
    x = image((1, 64, 6, 6))
    changed = (stage[2](x) != x).asnumpy().any(axis=(0, 2, 3))
    assert_array_equal(np.flatnonzero(changed), np.arange(32, 48))


def test_an_improvement_changes_the_newest_channels_only():
    unit = ImprovementUnit(12, 4, 1)
    unit.initialize()
    x = image((1, 12, 6, 6))
    changed = (unit(x) != x).asnumpy().any(axis=(0, 2, 3))
    assert_array_equal(np.flatnonzero(changed), np.arange(8, 12))
    all_of_them = ImprovementUnit(4, 4, 1)
    all_of_them.initialize()
    assert (all_of_them(image((1, 4, 6, 6))) != image((1, 4, 6, 6))).asnumpy().all()


def test_channel_shuffle_takes_from_each_group_in_turn():
    x = mx.nd.arange(6).reshape((1, 6, 1, 1))
    assert ChannelShuffle(2)(x).asnumpy().ravel().tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize(("name", "units"), [("densenet_flex", 1), ("meliusnet_flex", 2)])
def test_a_flexible_network_takes_its_structure_from_options(name, units):
    layers = binary_layers(get_model(name, **SMALL_FLEX))
    assert len(layers) == 3 * units
    assert [x.output_shape for x in layers[:1]] == [(1, 32, 16, 16)]
    last = summarize(get_model(name, **SMALL_FLEX), IMAGE).layers[-1]
    assert last.full_precision == (32 + 2 * 32) * 5 + 5


def test_transitions_have_the_published_channels():
    widths = {28: [160, 192, 256], 37: [128, 192, 256], 45: [160, 288, 288]}
    for layers, expected in widths.items():
        found = summarize(get_model(f"densenet{layers}"), IMAGE).layers
        ones = [x.output_shape[1] for x in found if x.name.endswith(("conv1", "conv2", "conv3"))]
        assert [x for x in ones if x != 64] == expected


@pytest.mark.parametrize(
    ("structure", "present", "binary"),
    [
        ("bn,relu,pool,fp_conv", "avg", 3),
        ("bn,pool,q_conv", "avg", 4),
        ("bn,max_pool,relu,cs:8,fp_conv:4", "max", 3),
    ],
)
def test_structures_of_a_transition(structure, present, binary):
    net = initialized("densenet_flex", downsample_structure=structure, **SMALL_FLEX)
    assert len(binary_layers(net)) == binary
    pools = [node["attrs"] for node in nodes_of(net) if node["op"] == "Pooling"]
    assert pools[1]["pool_type"] == present
    assert ("SwapAxis" in operators(net)) == ("cs" in structure)
    assert net(image()).shape == (1, 5)


def test_a_dilated_network_keeps_its_size_and_widens_its_windows():
    net = initialized("densenet28", dilated=True, classes=3)
    layers = binary_layers(net)
    assert [layers[i].output_shape[2] for i in (0, 6, 12, 18)] == [16, 8, 8, 8]
    attributes = [node.get("attrs", {}) for node in nodes_of(net)]
    pads = [each["pad_width"] for each in attributes if "pad_width" in each]
    assert pads[-1] == "(0, 0, 0, 0, 4, 4, 4, 4)" and pads[12] == "(0, 0, 0, 0, 2, 2, 2, 2)"
    assert net(image()).shape == (1, 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1, 1, "det_sign", "det_sign", 1.0)),
        ({"bits": 2}, (2, 2, "round", "dorefa", 1.0)),
        ({"bits": 1, "bits_a": 4}, (1, 4, "round", "det_sign", 1.0)),
        ({"clip_threshold": 1.3}, (1, 1, "det_sign", "det_sign", 1.3)),
        (
            {"activation_method": "sign_approx_sign", "weight_quantization": "sign_approx_sign"},
            (1, 1, "sign_approx_sign", "sign_approx_sign", 1.0),
        ),
    ],
)
def test_options_of_the_binary_layers(options, expected, monkeypatch):
    methods = []
    monkeypatch.setattr(
        "bnn_tvm.gluon.conv.weight_quantizer", lambda method, bits: methods.append(method)
    )
    net = get_model("densenet_flex", **SMALL_FLEX, **options)
    block = next(layer for layer in net if "stage1" in layer.prefix)[0].body[1]
    found = (block.qconv.bits, block.qact.bits, block.qact.method, methods[0], block.qact.threshold)
    assert found == expected
    assert nn.binary_layer_config.get_values()["bits"] == 1


@pytest.mark.parametrize(
    ("approximation", "block"), [("binet", "ScaledWeightsBinaryConv"), ("xnor", "ScaledBinaryConv")]
)
def test_approximations(approximation, block):
    net = initialized("resnet18_e1", approximation=approximation, classes=3)
    stage = next(layer for layer in net if "stage1" in layer.prefix)
    assert type(stage[0].body[0]).__name__ == block
    assert net(image()).shape == (1, 3)


def test_short_names_of_other_zoos():
    for alias, name in (("resnete18", "resnet18_e1"), ("binarydensenet28", "densenet28")):
        names = (list(get_model(x, classes=3).collect_params()) for x in (alias, name))
        assert next(names) == next(names)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18_e1", {"growth_rate": 3}, r"no option 'growth_rate'\. Choose from: bits, .*slic"),
        ("resnet18_e1", {"slices": 3}, r"slices=3 is not supported\. Choose 1, 2, 4 or 8"),
        ("resnet18_e1", {"channels": (64, 64)}, r"channels=\(64, 64\) does not fit 4 stages"),
        ("resnet18_e1", {"initial_layers": "none"}, r"Stem 'none' is unknown\. Choose one of: im"),
        ("resnet18_e1", {"approximation": "abc"}, "Approximation 'abc' is unknown"),
        ("densenet28", {"activation_method": "tanh"}, r"activation='tanh'.*such as 'det_sign'"),
        ("densenet28", {"bits": 4, "weight_quantization": "det_sign"}, "such as 'dorefa'"),
        ("densenet28", {"reduction": (2, 2)}, r"reduction=\(2, 2\) does not fit 4 stages"),
        ("densenet28", {"downsample_structure": "bn,bnn"}, "Transition layer 'bnn' is unknown"),
        ("densenet28", {"downsample_structure": "bn"}, r"cannot leave 160 of 448 channels\. Add"),
        ("densenet_flex", {}, r"block_config is missing\. Give the number"),
        ("densenet_flex", {**FLEX, "dilated": True}, "dilated network has 4 stages, not 2"),
    ],
)
def test_wrong_options_are_errors(name, options, message):
    with pytest.raises(ModelError, match=message):
        get_model(name, **options)


def test_gradients_reach_the_first_layer():
    net = initialized("meliusnet_flex", **SMALL_FLEX)
    with mx.autograd.record():
        loss = net(image()).sum()
    loss.backward()
    parameters = net.collect_params()
    for name in ("meliusnet_conv0_weight", "meliusnet_stage1_qconv0_weight"):
        assert float(parameters[name].grad().abs().sum().asscalar()) > 0
    assert parameters["meliusnet_stage1_qconv0_weight"].wd_mult == 0
