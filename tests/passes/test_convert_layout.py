"""Layout conversion: NHWC inside, the model's layout at the border, and the same numbers."""

from __future__ import annotations

import pytest
from relax_harness import assert_same, module, operators, random_floats, random_signs, run
from tvm import relax

from bnn_tvm.passes.convert_layout import convert_layout
from bnn_tvm.passes.dataflow import main_bindings, op_name, shape_of

op = relax.op
SHAPE = (2, 5, 6, 7)
WEIGHT = random_floats(1, 4, 5, 3, 3)


def conv(g, x):
    return g.conv(x, WEIGHT)


BODIES = {
    "convolution": lambda g, x: g.conv(x, WEIGHT, padding=1, strides=(2, 1), dilation=(1, 2)),
    "grouped": lambda g, x: g.conv(conv(g, x), random_floats(2, 6, 2, 2, 2), groups=2),
    "max pool": lambda g, x: g(op.nn.max_pool2d(x, (3, 2), (2, 2), (1, 0, 1, 1))),
    "ceil": lambda g, x: g(op.nn.max_pool2d(x, (4, 4), (3, 3), ceil_mode=True)),
    "average": lambda g, x: g(op.nn.avg_pool2d(x, (3, 2), (2, 2), (1, 1, 1, 1))),
    "pad": lambda g, x: g(op.nn.pad(x, [0, 0, 1, 0, 0, 2, 3, 0], pad_value=2.0)),
    "concat": lambda g, x: g(op.concat([conv(g, x), conv(g, x)], 1)),
    "concat of rows": lambda g, x: g(op.concat([conv(g, x), conv(g, x)], -2)),
    "slice": lambda g, x: g(op.strided_slice(x, [1, 3], [1, 0], [4, 7], [1, 2])),
    "global mean": lambda g, x: g(op.mean(conv(g, x), [2, 3], keepdims=True)),
    "matrix of means": lambda g, x: g(op.mean(conv(g, x), [2, 3])),
    "maximum of channels": lambda g, x: g(op.max(conv(g, x), [1], keepdims=True)),
    "minimum of channels": lambda g, x: g(op.min(conv(g, x), [1], keepdims=True)),
    "mean of columns": lambda g, x: g(op.mean(conv(g, x), [3])),
    "affine": lambda g, x: g.affine(conv(g, x), random_floats(3, 4), random_floats(4, 4)),
    "flat constant": lambda g, x: g(op.add(conv(g, x), relax.const(random_floats(3, 5)))),
    "transposed": lambda g, x: g(op.permute_dims(conv(g, x), (0, 2, 1, 3))),
    "softmax": lambda g, x: g(op.nn.softmax(conv(g, x), 1)),
    "flat dense": lambda g, x: g.dense(g(op.reshape(conv(g, x), (2, 80))), random_floats(3, 80, 3)),
    "flat result": lambda g, x: g(op.reshape(conv(g, x), (2, 80))),
    "shuffled": lambda g, x: g(
        op.reshape(
            g(op.permute_dims(g(op.reshape(conv(g, x), (2, 2, 2, 4, 5))), (0, 2, 1, 3, 4))),
            (2, 4, 4, 5),
        )
    ),
}


@pytest.fixture(scope="module")
def everything():
    """All bodies in one module: before, after, and what each gives on the same input."""
    mod = module(lambda g, x: [body(g, x) for body in BODIES.values()], SHAPE)
    after, x = convert_layout(mod), random_floats(0, *SHAPE)
    return after, run(mod, [x]), run(after, [x])


@pytest.mark.parametrize("index", range(len(BODIES)), ids=list(BODIES))
def test_same_numbers_in_the_models_layout(everything, index):
    _, before, after = everything
    assert_same([before[index]], [after[index]], atol=1e-5)


def test_images_are_nhwc_inside(everything):
    calls = [b.value for b in main_bindings(everything[0])]
    convolutions = [call for call in calls if op_name(call) == "nn.conv2d"]
    assert {call.attrs.data_layout for call in convolutions} == {"NHWC"}
    assert {call.attrs.kernel_layout for call in convolutions} == {"OHWI"}
    pools = [call for call in calls if op_name(call) in ("nn.max_pool2d", "nn.avg_pool2d")]
    assert {call.attrs.layout for call in pools} == {"NHWC"}


def test_a_chain_of_layers_moves_axes_at_its_border_only():
    def body(g, x):
        y = g.affine(conv(g, x), random_floats(3, 4), random_floats(4, 4))
        return g.conv(g.pad(g.sign(y), 1, -1.0), random_signs(5, 3, 4, 3, 3))

    after = operators(convert_layout(module(body, SHAPE)))
    assert [after[0], after[-1]] == ["permute_dims", "permute_dims"]
    assert after.count("permute_dims") == 2


def test_flattening_before_a_dense_layer_moves_no_data():
    after = operators(convert_layout(module(BODIES["flat dense"], SHAPE)))
    assert after == ["permute_dims", "nn.conv2d", "reshape", "matmul"]


def test_a_flattening_that_is_also_a_result_keeps_the_models_order():
    def body(g, x):
        flat = g(op.reshape(conv(g, x), (2, 80)))
        return [flat, g.dense(flat, random_floats(3, 80, 3))]

    mod, x = module(body, SHAPE), random_floats(0, *SHAPE)
    assert_same(run(mod, [x]), run(convert_layout(mod), [x]), atol=1e-5)


def test_images_of_one_channel_or_one_pixel_are_reshaped_not_moved():
    def body(g, gray, pixel):
        return [
            g.conv(gray, random_floats(1, 2, 1, 3, 3)),
            g.conv(pixel, random_floats(2, 3, 6, 1, 1)),
        ]

    mod = module(body, (2, 1, 5, 5), (2, 6, 1, 1))
    after = convert_layout(mod)
    assert operators(after)[0] == "reshape"
    inputs = [random_floats(0, 2, 1, 5, 5), random_floats(1, 2, 6, 1, 1)]
    assert_same(run(mod, inputs), run(after, inputs), atol=1e-5)


def test_operands_of_other_ranks_broadcast_as_in_the_model():
    def body(g, x, channels, row):
        return g(op.add(g(op.add(conv(g, x), channels)), row))

    shapes = (SHAPE, (4, 1, 1), (5,))
    mod = module(body, *shapes)
    inputs = [random_floats(i, *shape) for i, shape in enumerate(shapes)]
    assert_same(run(mod, inputs), run(convert_layout(mod), inputs), atol=1e-5)


def test_results_keep_their_shapes(everything):
    after, before, _ = everything
    fields = after["main"].ret_ty.fields
    assert [shape_of_type(field) for field in fields] == [b.shape for b in before]


def shape_of_type(ty):
    return shape_of(relax.Var("result", ty))
