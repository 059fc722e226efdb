"""Batches run in parts: what keeps images apart, what comes out, how much memory it takes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relax_harness import (
    Graph,
    assert_same,
    module,
    operators,
    random_floats,
    random_signs,
    run,
    run_passes,
)
from tvm import relax

from bnn_tvm.build import schedule_module
from bnn_tvm.embed.memory import plan_arena
from bnn_tvm.embed.program import read_program
from bnn_tvm.passes.batch import batch_of, images_that_fit
from bnn_tvm.passes.dataflow import count_calls, main_bindings
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.split_batch import split_batch
from bnn_tvm.target import Target, get_target

op = relax.op
TARGET = get_target("x86-64-vpopcntdq")
BATCH = 4
# As many columns as images: axes can be taken for each other.
IMAGES = (BATCH, 8, 4, 4)


def layers(g: Graph, x: relax.Expr, *convolutions: tuple[int, int, bool]) -> relax.Expr:
    """Chain blocks of sign, convolution and BatchNorm, some with a shortcut; 32 channels."""
    y = g.conv(x, random_floats(1, 32, 8, 1, 1))
    for seed, (kernel, stride, has_shortcut) in enumerate(convolutions):
        padded = g.pad(g.sign(y), kernel // 2, -1.0)
        dot = g.conv(padded, random_signs(seed, 32, 32, kernel, kernel), strides=stride)
        z = g.affine(dot, random_floats(seed + 3, 32), random_floats(seed + 9, 32))
        y = g(op.add(z, y)) if has_shortcut and stride == 1 else z
    return y


def classify(g: Graph, y: relax.Expr) -> relax.Expr:
    flat = g(op.reshape(g(op.mean(y, [2, 3])), (BATCH, 32)))
    scores = g(op.add(g.dense(flat, random_floats(5, 32, 10)), relax.const(random_floats(6, 10))))
    return g(op.nn.softmax(scores))


def network(g: Graph, x: relax.Expr) -> relax.Expr:
    return classify(g, layers(g, x, (3, 1, True), (1, 1, False), (3, 2, False)))


def split(mod, images):
    fused = run_passes(mod)
    return fused, split_batch(fused, images)


def run_compiled(fused, arrays):
    return run(schedule_module(lower_regions(fused, TARGET), TARGET).mod, arrays, TARGET.id)


@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from((1, 3)), st.sampled_from((1, 2)), st.booleans()), max_size=3
    ),
    st.sampled_from((1, 2)),
)
def test_parts_give_the_numbers_of_the_whole(convolutions, images):
    fused, parts = split(
        module(lambda g, x: classify(g, layers(g, x, *convolutions)), IMAGES), images
    )
    x = random_floats(7, *IMAGES)
    assert operators(parts).count("take") == BATCH // images
    assert_same(run(fused, [x]), run(parts, [x]), atol=1e-5)
    assert_same(run_compiled(fused, [x]), run_compiled(parts, [x]), atol=1e-5)


def test_bits_are_the_same_to_the_last():
    def body(g, x):
        y = g.sign(layers(g, x, (3, 1, False)))
        flat = g(op.reshape(y, (BATCH, 32 * 16)))
        return [g.dense(flat, random_signs(2, 32 * 16, 16)), y]

    fused, parts = split(module(body, IMAGES), 2)
    x = random_signs(7, *IMAGES)
    whole = run_compiled(fused, [x])
    assert_same(whole, run_compiled(parts, [x]))
    assert_same(whole, run(fused, [x]))


def test_dense_layers_run_once_and_others_once_a_part():
    _, parts = split(module(network, IMAGES), 1)
    calls = count_calls(schedule_module(lower_regions(parts, TARGET), TARGET).mod)
    assert calls["dense_1"] == calls["concatenate"] == 1
    convolutions = [count for name, count in calls.items() if "conv2d" in name]
    assert convolutions and set(convolutions) == {BATCH}


def test_a_dense_layer_before_a_convolution_runs_in_parts():
    def body(g, x):
        y = layers(g, x, (3, 1, True))
        scale = g.dense(g(op.mean(y, [2, 3])), random_floats(1, 32, 32))
        return classify(g, g(op.multiply(y, g(op.reshape(scale, (BATCH, 32, 1, 1))))))

    fused, parts = split(module(body, IMAGES), 2)
    names = [binding.var.name for binding in main_bindings(lower_regions(parts, TARGET))]
    assert len(set(names)) < len(names)
    calls = count_calls(lower_regions(parts, TARGET))
    assert sorted(count for name, count in calls.items() if "dense" in name) == [1, 2]
    x = random_floats(7, *IMAGES)
    assert_same(run(fused, [x]), run(parts, [x]), atol=1e-5)


def test_several_inputs_and_outputs():
    def body(g, x, other):
        y = layers(g, x, (3, 1, True))
        z = g(op.concat([y, layers(g, other, (3, 1, False))], axis=1))
        return [classify(g, y), g(op.strided_slice(z, [1], [16], [48])), y]

    fused, parts = split(module(body, IMAGES, IMAGES), 2)
    arrays = [random_floats(seed, *IMAGES) for seed in (1, 2)]
    assert operators(parts).count("take") == 2 * 2
    assert_same(run(fused, arrays), run(parts, arrays), atol=1e-5)


MIXING = {
    "reshape": lambda g, y: op.reshape(y, (BATCH * 4, 32, 4)),
    "reshape and back": lambda g, y: op.reshape(g(op.reshape(y, (32, BATCH, 16))), (BATCH, 32, 16)),
    "softmax": lambda g, y: op.nn.softmax(y, axis=0),
    "softmax, counted from the end": lambda g, y: op.nn.softmax(y, axis=-4),
    "mean": lambda g, y: op.subtract(y, g(op.mean(y, [0], keepdims=True))),
    "mean of all": lambda g, y: op.mean(y),
    "largest": lambda g, y: op.subtract(y, g(op.max(y, [-4], keepdims=True))),
    "permutation": lambda g, y: op.permute_dims(y, [1, 0, 2, 3]),
    "reversal": lambda g, y: op.permute_dims(y),
    "slice": lambda g, y: op.strided_slice(y, [0], [1], [BATCH]),
    "concat": lambda g, y: op.concat([y, y], axis=0),
    "padding": lambda g, y: op.nn.pad(y, [1, 0, 0, 0, 0, 0, 0, 0]),
    "constant of each image": lambda g, y: op.add(y, relax.const(random_floats(1, BATCH, 1, 1, 1))),
    "fewer axes": lambda g, y: op.add(y, g(op.mean(y, [1, 2, 3]))),
    "product of images": lambda g, y: op.matmul(y, y),
    "statistics": lambda g, y: op.variance(y, [0]),
}


@pytest.mark.parametrize("mix", MIXING.values(), ids=MIXING)
def test_networks_that_mix_images_are_left_alone(mix):
    def body(g, x):
        return [g(mix(g, layers(g, x, (3, 1, True)))), x]

    fused, parts = split(module(body, IMAGES), 1)
    assert parts is fused


def test_inputs_of_different_batches_are_left_alone():
    mod = module(lambda g, x, y: [g(op.nn.relu(x)), g(op.nn.relu(y))], (4, 8), (2, 8))
    assert batch_of(mod) == 1
    fused, parts = split(mod, 1)
    assert parts is fused


def images_for(cache_kib: int, target: Target = TARGET) -> int:
    target = dataclasses.replace(target, l2_kib=cache_kib)
    return images_that_fit(lower_regions(run_passes(module(network, IMAGES)), target), target)


def test_as_many_images_run_as_fit_the_cache():
    # The first convolution reads 8 channels, and writes 32 and their signs: 2.6 KiB an image.
    assert [images_for(kib) for kib in (1, 5, 6, 10, 11)] == [1, 1, 2, 2, BATCH]


def test_batches_stay_whole_without_a_cache_or_on_a_gpu():
    assert images_for(0) == BATCH
    assert images_for(1, get_target("sm_80")) == BATCH


def arena_of(fused) -> int:
    scheduled = schedule_module(lower_regions(fused, TARGET), TARGET).mod
    program = read_program(scheduled)
    arena = plan_arena(program, dict.fromkeys(count_calls(scheduled), 0))
    borders = {*program.inputs, *program.outputs}
    return arena.size - sum(program.blocks[name] for name in borders)


def test_parts_share_their_memory():
    fused, parts = split(module(network, IMAGES), 1)
    assert arena_of(parts) < 0.6 * arena_of(fused)
