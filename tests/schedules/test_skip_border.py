"""Windows in the border: what lies outside of the image is skipped, and sums stay the same."""

from __future__ import annotations

import numpy as np
import pytest
import tvm_ffi
from bnn_tvm.schedules import RULES, Record, schedule_kernel
from bnn_tvm.schedules.choices import walk
from bnn_tvm.schedules.rule import find_rule
from relax_harness import (
    assert_same,
    kernels_of_kind,
    lower,
    module,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax, tirx
from tvm.ir import Call

from bnn_tvm.build import schedule_module
from bnn_tvm.kernels.signature import kernel_signature
from bnn_tvm.kernels.stages import PADDED
from bnn_tvm.target import get_target

op = relax.op
# Words counted one by one, pairs of words, and bytes whose counts are summed in parts.
TARGETS = ("x86-64-zen4", "x86-64-vpopcntdq", "x86-64-avx2")
TARGET, PAIRS = TARGETS[:2]
# Two words a pixel, the last of them partly used, three, which are not counted in pairs, and so
# many that they have a loop of their own.
FEW, ODD, MANY = 40, 70, 300


def convolve(channels, rank, padding, strides=1, kernel=3, value=-1.0, size=9, dilation=1):
    """Convolve signs of (1, channels, 9, ...) data, padded with signs, with filters of signs."""
    convs = {1: op.nn.conv1d, 2: op.nn.conv2d, 3: op.nn.conv3d}

    def body(g, x):
        before, after = padding
        widths = [0, 0, 0, 0] + [before, after] * rank
        padded = g(op.nn.pad(g.sign(x), widths, pad_value=value))
        weight = relax.const(random_signs(1, 24, channels, *[kernel] * rank))
        return g(convs[rank](padded, weight, strides=[strides] * rank, dilation=[dilation] * rank))

    return module(body, (1, channels, *[size] * rank))


def scheduled(mod, target=TARGET):
    """Schedule the kernel of a layer on bits."""
    (kernel,) = kernels_of_kind(lower(mod, target), "bitserial_conv2d")
    return schedule_kernel(kernel, get_target(target)).func


def count(func, node_type, is_wanted=lambda _: True) -> int:
    found = []
    tvm_ffi.structural_walk(func.body, (node_type, found.append))
    return sum(map(is_wanted, found))


def is_padded(func) -> bool:
    names = []
    tvm_ffi.structural_walk(func.body, (tirx.BufferStore, lambda s: names.append(s.buffer.name)))
    return PADDED in names


def chooses_words(call) -> bool:
    return getattr(call.op, "name", "") == "prim.if_then_else"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [-1.0, 1.0])
@pytest.mark.parametrize("channels", [FEW, ODD, MANY])
@pytest.mark.parametrize(
    ("rank", "padding", "strides", "kernel", "dilation"),
    [
        (1, (1, 1), 1, 3, 1),
        (2, (1, 1), 1, 3, 1),
        (2, (1, 1), 2, 3, 1),
        (2, (2, 0), 1, 3, 1),
        (2, (0, 2), 2, 5, 1),
        (2, (4, 4), 3, 3, 1),
        (2, (2, 2), 1, 3, 2),
        (2, (1, 1), 1, 1, 1),
        (3, (1, 1), 1, 3, 1),
    ],
)
def test_sums_are_those_of_the_padded_image(
    rank, padding, strides, kernel, dilation, channels, value, target
):
    mod = convolve(channels, rank, padding, strides, kernel, value, dilation=dilation)
    x = [random_floats(0, 1, channels, *[9] * rank)]
    assert_same(run(mod, x), run_lowered(mod, x, target))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [0.0, 0.5, -0.25])
def test_padding_that_is_no_sign_is_corrected_behind_the_sums(value, target):
    mod = convolve(FEW, 2, (1, 1), value=value)
    x = [random_floats(0, 1, FEW, 9, 9)]
    assert_same(run(mod, x), run_lowered(mod, x, target), atol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", [1, 2, 7, 14, 15, 29])
def test_tiles_of_any_number_fill_a_row(width, target):
    mod = convolve(MANY, 2, (1, 1), size=width)
    x = [random_floats(0, 1, MANY, width, width)]
    assert_same(run(mod, x), run_lowered(mod, x, target))


@pytest.mark.parametrize("channels", [ODD, MANY])
def test_pairs_are_counted_alike_by_all_schedules(channels):
    """With a row of one tile and of several, and tiles that lack pixels."""
    mod = convolve(channels, 2, (1, 1), size=7)
    x = [random_floats(0, 1, channels, 7, 7)]
    expected = run(mod, x)
    lowered, target = lower(mod, PAIRS), get_target(PAIRS)
    (kernel,) = kernels_of_kind(lowered, "bitserial_conv2d")
    rule, _ = find_rule(RULES, kernel, target)
    ways = [taken for taken, _ in walk(lambda choose: rule.apply(kernel, target, choose))]
    assert len(ways) > 1
    for taken in ways:
        records = {kernel_signature(kernel): Record(rule.name, taken)}
        assert_same(expected, run(schedule_module(lowered, target, records).mod, x, PAIRS))


@pytest.mark.parametrize("target", TARGETS)
def test_more_border_than_image_is_right(target):
    """Each window has rows and columns in the border."""
    mod = convolve(MANY, 2, (3, 3), 1, 5, size=3)
    x = [np.ones((1, MANY, 3, 3), np.float32)]
    assert_same(run(mod, x), run_lowered(mod, x, target))


@pytest.mark.parametrize(("size", "skips"), [(28, True), (56, False)])
def test_pairs_skip_a_border_that_is_worth_asking_where_it_is(size, skips):
    func = scheduled(convolve(FEW, 2, (1, 1), size=size), PAIRS)
    assert is_padded(func) != skips


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [FEW, ODD, MANY])
def test_the_image_is_read_where_it_lies(channels, target):
    func = scheduled(convolve(channels, 2, (1, 1)), target)
    assert not is_padded(func)
    assert count(func, Call, chooses_words) == 0
    assert count(func, tirx.IfThenElse) > 0


def test_rows_have_conditions_where_one_tile_is_the_first_and_the_last():
    assert count(scheduled(convolve(MANY, 2, (1, 1))), tirx.IfThenElse) == 3 * 2


def test_the_first_and_the_last_tile_of_a_row_have_loops_of_their_own():
    func = scheduled(convolve(MANY, 2, (1, 1), size=28))
    assert count(func, tirx.IfThenElse) == 5 * 2 + 2


def test_layers_without_border_have_no_conditions():
    assert count(scheduled(convolve(MANY, 2, (0, 0))), tirx.IfThenElse) == 0


@pytest.mark.parametrize(
    ("target", "reads_columns"), [("cortex-a72", False), ("cortex-a53", True), ("armv7-neon", True)]
)
def test_steps_that_are_written_out_read_the_padding_of_rows(target, reads_columns):
    func = scheduled(convolve(128, 2, (1, 1)), target)
    assert is_padded(func) == reads_columns
    skips_rows = target != "armv7-neon"
    assert (count(func, tirx.IfThenElse) > 0) == skips_rows


def test_pixels_that_registers_repeat_are_read_with_their_padding():
    assert is_padded(scheduled(convolve(64, 2, (1, 1)), "cortex-a72"))
