"""Device code, run by the processor with its instructions replaced, against unscheduled kernels."""

from __future__ import annotations

import numpy as np
import pytest
from cuda_emulation_harness import run_emulated
from cuda_harness import needs_nvcc
from cuda_kernels_harness import layer_kernels, planes_kernel
from cuda_serial_harness import operands, run_serially

pytestmark = needs_nvcc


def layer(*shape, **options):
    return layer_kernels(*shape, options, "sm_90")[0]


# Words that are read one, two and four at a time; steps of K: one, and several in few buffers.
KERNELS = {
    "one step": lambda: layer(3, 32, 64, (5, 3)),
    "channels past a word": lambda: layer(2, 72, 32, (5, 7)),
    "many steps": lambda: layer(2, 512, 32, (7, 5)),
    "border of ones": lambda: layer(3, 40, 32, (4, 4), pad_value=1.0),
    "planes": lambda: planes_kernel(2, 2, False, "sm_90", channels=128),
}


def cases(*fast):
    return [pytest.param(k, marks=() if k in fast else pytest.mark.slow) for k in KERNELS]


def check(func, folder, **options):
    arrays = operands(func)
    found = run_emulated(func, arrays, folder, **options)
    for given, expected in zip(found, run_serially(func, arrays), strict=True):
        np.testing.assert_allclose(given, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", cases("one step"))
def test_warps_count_the_same(name, tmp_path):
    check(KERNELS[name](), tmp_path, instruction="mma")


@pytest.mark.parametrize("early", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", cases("many steps"))
def test_warpgroups_count_the_same(name, early, tmp_path):
    check(KERNELS[name](), tmp_path, instruction="wgmma", copies_early=early)


@pytest.mark.parametrize("name", cases())
def test_what_later_gpus_get_counts_the_same(name, tmp_path):
    check(KERNELS[name](), tmp_path, instruction="wgmma", has_warpgroups=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted", [{"stages": 2}, {"ones": "apart"}, {"splits": 2}, {"tile": "16x32 by 4x1"}]
)
def test_other_choices_count_the_same(wanted, tmp_path):
    check(KERNELS["many steps"](), tmp_path, instruction="wgmma", **wanted)


@pytest.mark.slow
@pytest.mark.parametrize("early", [False, True])
def test_copies_two_steps_ahead_of_products_under_way_count_the_same(early, tmp_path):
    func = layer(8, 512, 32, (14, 14))
    check(func, tmp_path, instruction="wgmma", stages=4, copies_early=early)


@pytest.mark.slow
@pytest.mark.parametrize("tile", ["16x32 by 8x1", "16x32 by 4x2", "16x64 by 4x2"])
def test_tiles_of_several_warpgroups_count_the_same(tile, tmp_path):
    check(layer(2, 128, 128, (8, 8)), tmp_path, instruction="wgmma", tile=tile)
