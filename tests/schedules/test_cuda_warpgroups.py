"""Products by warpgroups (`wgmma`): where they are offered, and that they equal the reference."""

from __future__ import annotations

import pytest
import tvm_ffi
from bnn_tvm.schedules import cuda
from bnn_tvm.schedules.choices import by_hand
from cuda_kernels_harness import kernels, layer_kernels, number_kernels, planes_kernel
from cuda_serial_harness import check, schedule, take
from relax_harness import random_signs

from bnn_tvm.target import get_target

HOPPER = "sm_90"
ROWS_OF_A_GROUP = 64


def offered(func, target=HOPPER, **wanted):
    """List what each choice is between, when some are decided."""
    found = {}

    def note(name, options):
        found[name] = [str(option) for option in options]
        return take(**wanted)(name, options)

    cuda.RULES[0].apply(func, get_target(target), note)
    return found


def layer(*shape, target=HOPPER, **options):
    return layer_kernels(*shape, options, target)[0]


def check_groups(func, **wanted):
    assert "wgmma" in offered(func)["instruction"]
    check(func, schedule(func, HOPPER, take(instruction="wgmma", **wanted)).func)


def test_warpgroups_are_a_choice_and_not_what_is_taken_by_hand():
    func = layer(1, 64, 64, (7, 7))
    assert offered(func)["instruction"] == ["mma", "wgmma"]
    found = [schedule(func, HOPPER, choose).func for choose in (by_hand, take(instruction="mma"))]
    assert tvm_ffi.structural_equal(*found)


@pytest.mark.parametrize("target", ["sm_75", "sm_80", "sm_86", "sm_89"])
def test_other_gpus_are_not_offered_warpgroups(target):
    assert "instruction" not in offered(layer(1, 64, 64, (7, 7), target=target), target)


def test_warpgroups_are_not_offered_where_they_have_too_few_rows_or_numbers_to_multiply():
    few = layer(1, 64, 64, (4, 8))
    assert "tile" in offered(few) and "instruction" not in offered(few)
    assert not any("instruction" in offered(func) for func in number_kernels("fp16", HOPPER))


def test_whole_warpgroups_divide_every_tile():
    func = layer(5, 128, 256, (9, 9))
    for tile in offered(func, instruction="wgmma")["tile"]:
        down, across = map(int, tile.split(" by ")[1].split("x"))
        assert down * 16 % ROWS_OF_A_GROUP == 0 and across in (1, 2, 4)


# Words that are read one, two and four at a time; borders; rows, channels and K that fill no tile.
SHAPES = {
    "odd map and batch": ((3, 32, 64, (5, 3)), {}),
    "steps of 16 words": ((1, 64, 64, (7, 7)), {}),
    "four words at a time": ((1, 128, 96, (9, 7)), {}),
    "channels past a word": ((2, 72, 32, (5, 7)), {}),
    "1x1": ((1, 160, 64, (6, 6)), {"kernel": 1, "pad": 0}),
    "stride": ((1, 64, 32, (15, 13)), {"stride": 2}),
    "padding of ones": ((3, 40, 32, (4, 4)), {"pad_value": 1.0}),
    "padding of zeros": ((3, 32, 32, (4, 4)), {"pad_value": 0.0}),
}
FAST = ("odd map and batch", "four words at a time")


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=() if c in FAST else pytest.mark.slow) for c in SHAPES]
)
def test_convolutions_equal_the_reference(case):
    shape, options = SHAPES[case]
    check_groups(layer(*shape, **options))


@pytest.mark.slow
def test_dense_layers_equal_the_reference():
    def body(g, x):
        return g.dense(g.sign(x), random_signs(1, 300, 72))

    (func,) = kernels(body, (70, 300), target=HOPPER, kind="bitserial_dense")
    check_groups(func)


@pytest.mark.parametrize("splits", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_blocks_that_share_k_equal_the_reference(splits):
    check_groups(layer(1, 256, 32, (7, 5)), splits=splits)


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [{"ones": "apart"}, {"stages": 2}, {"stages": 6}])
def test_other_choices_equal_the_reference(wanted):
    check_groups(layer(1, 2048, 32, (8, 8)), **wanted)


@pytest.mark.slow
def test_every_tile_equals_the_reference():
    func = layer(2, 128, 256, (8, 8))
    tiles = offered(func, instruction="wgmma")["tile"]
    assert len(tiles) > 4
    for tile in tiles:
        check_groups(func, tile=tile)


@pytest.mark.parametrize(
    "planes", [(2, 2, False), pytest.param((4, 2, True), marks=pytest.mark.slow)]
)
def test_bit_planes_equal_the_reference(planes):
    check_groups(planes_kernel(*planes, HOPPER))
