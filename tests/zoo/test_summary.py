"""Counts of the zoo against the published figures, and of small networks by hand."""

import pytest

from bnn_tvm.errors import InputError
from bnn_tvm.gluon import nn
from bnn_tvm.zoo import get_model
from bnn_tvm.zoo.summary import summarize

IMAGE = (1, 3, 224, 224)

# name, stem, size in MB, Flops, binary MACs, MACs of float convolutions, 1-bit and 32-bit numbers
PUBLISHED = [
    ("resnet18_e1", "imagenet", "4.00", "1.63e8", "1.676e9", "1.373e8", 10_985_472, "704k"),
    ("resnet18_e1", "grouped_stem", "3.98", "1.14e8", "1.676e9", "8.79e7", 10_985_472, "700k"),
    ("resnet34_e1", "imagenet", "5.23", "1.92e8", "3.526e9", "1.373e8", 21_086_208, "712k"),
    ("resnet34_e1", "grouped_stem", "5.21", "1.43e8", "3.526e9", "8.79e7", 21_086_208, "708k"),
    ("densenet28", "imagenet", "4.04", "2.58e8", "3.587e9", "2.019e8", 4_202_496, "929k"),
    ("densenet28", "grouped_stem", "4.03", "2.09e8", "3.587e9", "1.525e8", 4_202_496, "925k"),
    ("densenet37", "imagenet", "5.13", "2.70e8", "4.507e9", "1.991e8", 7_593_984, "1.11M"),
    ("densenet37", "grouped_stem", "5.12", "2.20e8", "4.507e9", "1.497e8", 7_593_984, "1.10M"),
    ("densenet45", "imagenet", "7.35", "3.44e8", "6.431e9", "2.433e8", 12_349_440, "1.54M"),
    ("meliusnet22", "imagenet", "3.89", "2.58e8", "4.624e9", "1.852e8", 6_119_424, "829k"),
    ("meliusnet22", "grouped_stem", "3.88", "2.08e8", "4.624e9", "1.359e8", 6_119_424, "825k"),
    ("meliusnet29", "imagenet", "5.08", "2.64e8", "5.470e9", "1.782e8", 10_321_920, "1.01M"),
    ("meliusnet29", "grouped_stem", "5.07", "2.14e8", "5.470e9", "1.289e8", 10_321_920, "1.01M"),
    ("meliusnet42", "grouped_stem", "10.1", "3.25e8", "9.693e9", "1.740e8", 24_956_928, "1.87M"),
    ("meliusnet59", "grouped_stem", "17.39", "5.32e8", "1.832e10", "2.458e8", 52_641_792, "2.91M"),
    ("meliusnet_a", "grouped_stem", "4.05", "1.63e8", "4.852e9", "8.67e7", 8_441_856, "797k"),
    ("meliusnet_b", "grouped_stem", "5.00", "1.96e8", "5.722e9", "1.064e8", 11_280_384, "959k"),
    ("meliusnet_c", "grouped_stem", "4.46", "1.50e8", "4.353e9", "8.22e7", 11_427_840, "812k"),
]


def with_digits_of(published: str, value: float) -> str:
    """Write a value with as many digits as a published one."""
    mantissa, _, exponent = published.partition("e")
    decimals = len(mantissa.partition(".")[2])
    scaled = value / 10 ** int(exponent or 0)
    return f"{scaled:.{decimals}f}" + (f"e{exponent}" if exponent else "")


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]}-{row[1]}")
def test_published_counts(row):
    name, stem, size, flops, binary_macs, conv_macs, binary, full = row
    found = summarize(get_model(name, initial_layers=stem), IMAGE)
    unit = {"k": 1e3, "M": 1e6}[full[-1]]
    assert {
        "size": with_digits_of(size, found.bytes / 2**20),
        "flops": with_digits_of(flops, found.flops),
        "binary MACs": with_digits_of(binary_macs, found.binary_macs),
        "conv MACs": with_digits_of(conv_macs, found.convolution_macs),
        "binary": found.binary_parameters,
        "full": with_digits_of(full[:-1], found.full_precision_parameters / unit) + full[-1],
    } == {
        "size": size,
        "flops": flops,
        "binary MACs": binary_macs,
        "conv MACs": conv_macs,
        "binary": binary,
        "full": full,
    }


def small_net():
    net = nn.HybridSequential(prefix="small_")
    with net.name_scope():
        net.add(
            nn.Conv2D(4, 3, strides=2, padding=1, in_channels=2),
            nn.BatchNorm(in_channels=4, scale=False),
            nn.QActivation(),
            nn.QConv2D(6, 3, padding=1, groups=2, in_channels=4),
            nn.BatchNorm(in_channels=6),
            nn.QConv2D(5, 1, bits=4, quantization="dorefa", in_channels=6),
            nn.Flatten(),
            nn.QActivation(),
            nn.QDense(7, in_units=5 * 4 * 4),
            nn.Dense(3, in_units=7),
        )
    return net


def test_every_layer_of_a_small_network():
    layers = summarize(small_net(), (2, 2, 8, 8)).layers
    rows = [(x.kind, x.weight_bits, x.weights, x.full_precision, x.macs) for x in layers]
    pixels = 2 * 4 * 4  # of both images
    assert rows == [
        ("Conv2D", 32, 0, 4 * 2 * 9 + 4, pixels * 4 * 2 * 9),
        ("BatchNorm", 32, 0, 4, 0),  # a fixed scale is not learned
        ("QConv2D", 1, 6 * 2 * 9, 0, pixels * 6 * 2 * 9),
        ("BatchNorm", 32, 0, 12, 0),
        ("QConv2D", 4, 5 * 6, 0, pixels * 5 * 6),
        ("QDense", 1, 7 * 80, 0, 2 * 7 * 80),
        ("Dense", 32, 0, 7 * 3 + 3, 2 * 7 * 3),
    ]
    assert [x.name for x in layers][:3] == ["small_conv0", "small_batchnorm0", "small_qconv0"]
    assert layers[2].output_shape == (2, 6, 4, 4)


def test_totals_of_a_small_network():
    found = summarize(small_net(), (1, 2, 8, 8))
    binary = 16 * 6 * 2 * 9 + 7 * 80
    floats = 16 * (4 * 2 * 9 + 5 * 6)
    assert (found.binary_macs, found.convolution_macs) == (binary, floats)
    assert found.flops == floats + binary / 64
    assert found.bytes == (6 * 2 * 9 + 7 * 80 + 4 * 30 + 32 * (76 + 4 + 12 + 24)) / 8


def test_counting_needs_no_values_and_leaves_the_network_alone():
    net = get_model("lenet")
    names = [layer.name for layer in summarize(net, (1, 1, 28, 28)).layers]
    assert names[0] == "lenet_conv0"
    assert all(parameter._data is None for parameter in net.collect_params().values())


def test_an_input_that_does_not_fit_is_an_error():
    with pytest.raises(InputError, match=r"Input shape \(1, 3, 28, 28\) does not fit"):
        summarize(get_model("lenet"), (1, 3, 28, 28))
