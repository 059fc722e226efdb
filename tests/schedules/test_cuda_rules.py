"""Kernels scheduled for GPUs, run serially on the processor, against the same ones unscheduled."""

from __future__ import annotations

import pytest
from bnn_tvm.schedules import cuda
from bnn_tvm.schedules.choices import walk
from cuda_kernels_harness import (
    AND,
    XOR,
    kernels,
    layer_kernels,
    number_kernels,
    planes_kernel,
    small_map_kernel,
)
from cuda_serial_harness import check, schedule, take, without_instructions
from relax_harness import random_floats, random_signs
from tvm import relax

from bnn_tvm.kernels.stages import KERNEL, NUM_OUTPUTS

op = relax.op


SHAPES = {
    "64 channels": (1, 64, 64, (7, 7), {}),
    "odd map and batch": (3, 32, 64, (5, 3), {}),
    "128 channels, even map": (1, 128, 32, (4, 4), {}),
    "channels past a word": (2, 40, 33, (5, 5), {}),
    "more outputs than a tile": (1, 32, 96, (3, 3), {}),
    "1x1": (1, 64, 64, (6, 6), {"kernel": 1, "pad": 0}),
    "stride": (1, 64, 32, (9, 9), {"stride": 2}),
    "padding of ones": (1, 40, 32, (4, 4), {"pad_value": 1.0}),
    "padding of zeros": (1, 32, 32, (4, 4), {"pad_value": 0.0}),
}


def conv_kernels(case, target):
    return layer_kernels(*SHAPES[case], target)


def marked(cases, fast):
    return [pytest.param(c, marks=() if c in fast else pytest.mark.slow) for c in cases]


@pytest.mark.parametrize("target", [AND, XOR])
@pytest.mark.parametrize("case", marked(SHAPES, ("odd map and batch", "channels past a word")))
def test_convolutions_equal_the_reference(case, target):
    found = [f for f in conv_kernels(case, target) if "conv2d" in str(f.attrs[KERNEL])]
    assert len(found) == 2 and int(found[0].attrs[NUM_OUTPUTS]) == 2
    for func in found:
        scheduled = schedule(func, target)
        # Numbers and words are not written together where channels do not fill the words.
        fits = SHAPES[case][2] % 32 == 0 or func is not found[0]
        assert scheduled.rule == ("cuda.multiply" if fits else "cuda.one_thread_each")
        check(func, scheduled.func)


@pytest.mark.parametrize("target", [AND, XOR])
@pytest.mark.parametrize("shape", marked([(1, 70, 10), (5, 128, 40), (33, 512, 64)], [(1, 70, 10)]))
def test_dense_layers_equal_the_reference(shape, target):
    rows, inputs, outputs = shape

    def body(g, x):
        y = g.dense(g.sign(x), random_signs(1, inputs, outputs))
        return g.dense(g.sign(g.affine(y, random_floats(2, outputs), random_floats(3, outputs))),
                       random_signs(4, outputs, 9))  # fmt: skip

    for func in kernels(body, (rows, inputs), target=target, kind="bitserial_dense"):
        scheduled = schedule(func, target)
        assert scheduled.rule == "cuda.multiply"
        check(func, scheduled.func)


@pytest.mark.parametrize("target", [AND, XOR])
@pytest.mark.parametrize("splits", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_blocks_that_share_k_equal_the_reference(splits, target):
    func = small_map_kernel(target)
    scheduled = schedule(func, target, take(splits=splits))
    check(func, scheduled.func)


def test_the_rule_shares_long_k_among_blocks_where_outputs_are_few():
    def body(g, x):
        return g.dense(g.sign(x), random_signs(1, 32768, 40))

    (func,) = kernels(body, (2, 32768), kind="bitserial_dense")
    taken = {}

    def note(name, options):
        taken[name] = options[0]
        return options[0]

    check(func, schedule(func, AND, note).func)
    assert taken["splits"] == 4 and "ones" not in taken
    schedule(small_map_kernel(AND), AND, note)
    assert taken["splits"] == 1 and "ones" in taken


@pytest.mark.slow
@pytest.mark.parametrize("stages", [2, 4, 6])
def test_any_number_of_stages_equals_the_reference(stages):
    func = small_map_kernel(AND, channels=2048)
    check(func, schedule(func, AND, take(stages=stages)).func)


@pytest.mark.slow
def test_every_choice_equals_the_reference():
    func = conv_kernels("64 channels", AND)[0]
    target = without_instructions(AND)
    taken = [c for c, _ in walk(lambda choose: cuda.RULES[0].apply(func, target, choose))]
    assert len(taken) > 10 and {c["ones"] for c in taken} == {"inside", "apart"}
    for choices in taken[:: max(1, len(taken) // 6)]:
        check(func, schedule(func, AND, take(**choices)).func)


def float_network(g, x):
    """A stem with pooling, a 1x1 layer with a shortcut, and a classifier; 40 and 64 channels."""
    stem = g.conv(x, random_floats(1, 64, 3, 3, 3), strides=(2, 2), padding=1)
    pooled = g(op.nn.max_pool2d(stem, (2, 2), (2, 2)))
    wide = g.conv(pooled, random_floats(2, 40, 64, 1, 1))
    bits = g.conv(g.sign(wide), random_signs(3, 64, 40, 1, 1))
    total = g(op.add(bits, pooled))
    signs = g(op.nn.max_pool2d(g.sign(total), (2, 2), (2, 2)))
    mean = g(op.nn.avg_pool2d(total, (3, 3), (3, 3)))
    scores = g.dense(g(op.reshape(mean, (2, 64))), random_floats(4, 64, 10))
    return [scores, g.conv(signs, random_signs(5, 32, 64, 1, 1))]


@pytest.mark.parametrize("precision, target", [("fp16", XOR), ("fp16", AND), ("tf32", AND)])
def test_layers_in_lower_precision_equal_the_reference(precision, target):
    found = number_kernels(precision, target)
    assert len(found) == 4
    for func in found:
        scheduled = schedule(func, target)
        assert scheduled.rule == "cuda.multiply"
        check(func, scheduled.func, rtol=1e-4)


FLOAT_RULES = {
    "conv2d": "cuda.multiply",
    "dense": "cuda.multiply",
    "max_pool2d": "cuda.one_thread_each",
    "avg_pool2d": "cuda.one_thread_each",
    "bitserial_max_pool2d": "cuda.one_thread_each",
}


@pytest.mark.parametrize("kind", FLOAT_RULES)
def test_float_layers_and_pooling_equal_the_reference(kind):
    found = kernels(float_network, (2, 3, 13, 13), kind="")
    alike = [f for f in found if str(f.attrs[KERNEL]) == kind]
    assert alike
    for func in alike:
        scheduled = schedule(func, AND)
        assert scheduled.rule == FLOAT_RULES[kind]
        check(func, scheduled.func, rtol=1e-4)


@pytest.mark.parametrize("target", [AND, XOR])
@pytest.mark.parametrize(
    ("bits", "weight_bits", "signed"),
    [(2, 2, False), (3, 1, True), *[pytest.param(*c, marks=pytest.mark.slow) for c in (
        (4, 4, True), (2, 3, False), (3, 3, True), (8, 2, False), (1, 4, True), (2, 2, True),
    )]],
)  # fmt: skip
def test_bit_planes_equal_the_reference(bits, weight_bits, signed, target):
    func = planes_kernel(bits, weight_bits, signed, target)
    scheduled = schedule(func, target)
    assert (scheduled.rule, scheduled.source) == ("cuda.multiply", "hand")
    check(func, scheduled.func)


def test_ones_are_counted_apart_where_tvm_does_not_see_that_a_block_writes_the_sums_it_reads():
    func = planes_kernel(4, 2, True, AND)
    offered = {}

    def choose(name, options):
        offered[name] = [str(option) for option in options]
        return next((o for o in options if str(o) == "16x64 by 4x1"), options[0])

    check(func, schedule(func, AND, choose).func)
    assert "16x64 by 4x1" in offered["tile"] and offered["ones"] == ["apart"]


@pytest.mark.parametrize("target", [AND, XOR])
def test_dense_layers_of_bit_planes_equal_the_reference(target):
    def body(g, x):
        return g.dense(g.quantize(x, 2), random_signs(1, 70, 40))

    (func,) = kernels(body, (3, 70), target=target, kind="bitserial_dense")
    scheduled = schedule(func, target)
    assert scheduled.rule == "cuda.multiply"
    check(func, scheduled.func)


def test_groups_get_a_thread_each():
    def body(g, x):
        return g.conv(g.sign(x), random_signs(1, 32, 8, 3, 3), groups=4)

    (func,) = kernels(body, (1, 32, 5, 5))
    scheduled = schedule(func, AND)
    assert (scheduled.rule, scheduled.source) == ("cuda.one_thread_each", "portable")
    check(func, scheduled.func)
