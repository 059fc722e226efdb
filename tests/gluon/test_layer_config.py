import pytest

from bnn_tvm.gluon import nn

DEFAULTS = {
    "grad_cancel": 1.0,
    "bits": 1,
    "bits_a": 1,
    "activation": "det_sign",
    "weight_quantization": "det_sign",
    "approximation": "",
}


def test_defaults():
    assert nn.binary_layer_config.get_values() == DEFAULTS
    assert vars(nn.BinaryLayerConfig()) == DEFAULTS


def test_context_manager_changes_and_restores():
    with nn.set_binary_layer_config(grad_cancel=0.3, approximation="xnor") as config:
        assert config is nn.binary_layer_config
        with nn.set_binary_layer_config(grad_cancel=0.5):
            assert (config.grad_cancel, config.approximation) == (0.5, "xnor")
        assert config.grad_cancel == 0.3
    assert nn.binary_layer_config.get_values() == DEFAULTS


def test_context_manager_restores_after_an_error():
    with pytest.raises(KeyError), nn.set_binary_layer_config(bits=32):
        raise KeyError
    assert nn.binary_layer_config.get_values() == DEFAULTS


def test_an_unknown_option_is_refused_and_nothing_stays_changed():
    with (
        pytest.raises(AssertionError, match="no option 'bitz'; there are: grad_cancel"),
        nn.set_binary_layer_config(bits=32, bitz=1),
    ):
        pass
    assert nn.binary_layer_config.get_values() == DEFAULTS


def test_none_keeps_the_old_value():
    config = nn.BinaryLayerConfig(grad_cancel=0.7)
    config.set_values(grad_cancel=None, bits=None)
    assert (config.grad_cancel, config.bits) == (0.7, 1)


@pytest.mark.parametrize(
    ("bits", "activation", "weights"),
    [(1, "det_sign", "det_sign"), (32, "relu", "identity"), (4, "round", "dorefa")],
)
def test_methods_follow_the_bit_width(bits, activation, weights):
    config = nn.BinaryLayerConfig()
    config.set_values(bits=bits, bits_a=bits)
    assert (config.activation, config.weight_quantization) == (activation, weights)


def test_an_allowed_method_is_kept():
    config = nn.BinaryLayerConfig()
    config.set_values(bits_a=32, activation="leaky_clip", bits=1)
    assert (config.activation, config.weight_quantization) == ("leaky_clip", "det_sign")


def test_methods_stay_without_the_consistency_check():
    config = nn.BinaryLayerConfig()
    config.set_values(assure_consistency=False, bits=2)
    assert config.weight_quantization == "det_sign"


def test_approximation_is_checked_in_the_constructor_only():
    with pytest.raises(AssertionError, match="Approximation 'abc' is unknown"):
        nn.BinaryLayerConfig(approximation="abc")
    config = nn.BinaryLayerConfig()
    config.set_values(approximation="abc")
    assert config.approximation == "abc"


def test_layers_keep_the_values_of_their_construction():
    with nn.set_binary_layer_config(grad_cancel=0.3):
        layer = nn.QActivation()
    assert layer.threshold == 0.3
    assert nn.QActivation().threshold == 1.0


def test_bits_alone_do_not_change_the_method():
    with pytest.raises(AssertionError, match="not supported"):
        nn.QActivation(bits=2)
    with pytest.raises(AssertionError, match="not supported"):
        nn.QConv2D(4, 3, bits=2)
    with nn.set_binary_layer_config(bits=2, bits_a=2):
        assert nn.QActivation().method == "round"
        assert nn.QConv2D(4, 3).bits == 2
