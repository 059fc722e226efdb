import mxnet as mx
import numpy as np
import pytest
from mxnet.gluon import nn as stock

from bnn_tvm.errors import ModelError
from bnn_tvm.gluon import nn
from bnn_tvm.zoo import get_model


def initialized(**options):
    net = get_model("lenet", **options)
    net.initialize()
    return net


def kinds(net):
    return [type(layer).__name__ for layer in net]


def test_binary_lenet_has_binary_inner_layers_only():
    assert kinds(get_model("lenet", bits=1)) == [
        *("Conv2D", "Activation", "MaxPool2D", "BatchNorm"),
        *("QActivation", "QConv2D", "BatchNorm", "MaxPool2D", "Flatten"),
        *("QActivation", "QDense", "BatchNorm", "Activation", "Dense"),
    ]


def test_float_twin_differs_in_the_binary_layers_only():
    twin = get_model("lenet", bits=32)
    expected = [
        kind.replace("QConv2D", "Conv2D").replace("QDense", "Dense")
        for kind in kinds(get_model("lenet", bits=1))
        if kind != "QActivation"
    ]
    assert kinds(twin) == expected
    assert type(twin[4]) is stock.Conv2D


def test_both_map_digits_to_logits_with_the_same_number_of_parameters():
    sizes = []
    for bits in (1, 32):
        net = initialized(bits=bits)
        assert net(mx.nd.zeros((2, 1, 28, 28))).shape == (2, 10)
        sizes.append(sum(int(np.prod(p.shape)) for p in net.collect_params().values()))
    assert sizes[0] == sizes[1]
    assert initialized(classes=4)(mx.nd.zeros((2, 1, 28, 28))).shape == (2, 4)


def test_names_do_not_depend_on_what_was_built_before():
    names = [list(get_model("lenet").collect_params()) for _ in range(2)]
    assert names[0] == names[1]
    assert "lenet_qconv0_weight" in names[0]
    assert "lenet_qdense0_weight" in names[0]


def test_layers_are_numbered_from_the_input():
    weights = [name for name in get_model("lenet", bits=32).collect_params() if "weight" in name]
    assert weights == [f"lenet_{x}_weight" for x in ("conv0", "conv1", "dense0", "dense1")]


def test_layers_follow_the_configuration():
    with nn.set_binary_layer_config(grad_cancel=1.3):
        net = get_model("lenet")
    assert [layer.threshold for layer in net if isinstance(layer, nn.QActivation)] == [1.3, 1.3]


def test_other_bit_widths_are_quantized_in_weights_and_activations():
    layers = [layer for layer in initialized(bits=3) if hasattr(layer, "bits")]
    assert [layer.bits for layer in layers] == [3, 3, 3, 3]
    assert [layer.method for layer in layers[::2]] == ["round", "round"]


def test_an_unknown_name_is_an_error():
    with pytest.raises(ModelError, match=r"Network 'alexnet' is unknown\. Choose one of: lenet"):
        get_model("alexnet")
