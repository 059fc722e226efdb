"""ARM's schedules change no number: kernels run on an emulated processor, against the host's."""

from __future__ import annotations

import pytest
from emulated_harness import EmulatedModule, needs_emulator
from relax_harness import (
    assert_same,
    lower,
    module,
    random_floats,
    random_signs,
    run_lowered,
)
from test_rules import SHAPE, network
from tvm import relax

op = relax.op
# Fuses multiplication and addition, as ARM does.
HOST = "x86-64-avx2"
pytestmark = needs_emulator("cortex-a72", "armv7-neon")


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def same_as_the_host(mod, arrays, tmp_path, target="cortex-a72", atol=0.0):
    """Compare and return the rules that were used."""
    emulated = EmulatedModule(lower(mod, target), target, tmp_path)
    assert_same(run_lowered(mod, arrays, HOST), emulated.run(arrays), atol)
    return set(emulated.rules.values())


@pytest.mark.parametrize("target", ["cortex-a53", "cortex-a76", "armv7-neon"])
def test_every_kind_of_kernel(target, tmp_path):
    rules = same_as_the_host(
        module(network, SHAPE), [random_floats(0, *SHAPE)], tmp_path, target, 1e-4
    )
    floats = "arm.floats" if target == "cortex-a53" else "arm.register_tile"
    assert {"arm.bits", floats, "arm.stream"} <= rules


@pytest.mark.parametrize("target", ["cortex-a53", "cortex-a72", "armv7-neon"])
@pytest.mark.parametrize("channels", [32, 64, slow(96), 128, slow(256)])
def test_runs_of_every_length_with_numbers_and_signs(channels, target, tmp_path):
    def block(g, x):
        y = g.conv(x, random_signs(1, channels, 3, 1, 1))
        dot = g.conv(g.pad(g.sign(y), 1, 1.0), random_signs(2, 64, channels, 3, 3))
        z = g.affine(dot, random_floats(3, 64), random_floats(4, 64))
        return [z, g.conv(g.sign(z), random_signs(5, 8, 64, 1, 1))]

    shape = (1, 3, 5, 14)
    # NEON of 32 bits rounds between multiplication and addition.
    atol = 1e-4 if target == "armv7-neon" else 0.0
    same_as_the_host(module(block, shape), [random_signs(0, *shape)], tmp_path, target, atol)


@pytest.mark.parametrize("target", ["cortex-a53", "armv7-neon"])
@pytest.mark.parametrize("channels", [64, slow(128)])
@pytest.mark.parametrize("options", [{"strides": 2}, {"dilation": 2}, {"strides": (1, 3)}])
def test_windows_whose_steps_are_written_out(channels, options, target, tmp_path):
    def block(g, x):
        y = g.sign(g.conv(x, random_signs(1, channels, 3, 1, 1)))
        return g.conv(g.pad(y, 2, -1.0), random_signs(2, 24, channels, 3, 3), **options)

    shape = (1, 3, 6, 12)
    mod = module(block, shape)
    same_as_the_host(mod, [random_signs(0, *shape)], tmp_path, target)


@pytest.mark.parametrize("pooled", [False, True])
def test_stems_in_fewer_multiplications(pooled, tmp_path):
    def stem(g, x):
        y = g.conv(x, random_floats(1, 32, 3, 7, 7), strides=(2, 2), padding=3)
        return g(op.nn.max_pool2d(y, (3, 3), (2, 2), padding=1)) if pooled else y

    shape = (1, 3, 22, 32)
    image = [random_floats(0, *shape)]
    rules = same_as_the_host(module(stem, shape), image, tmp_path, "cortex-a72", 1e-4)
    assert "arm.winograd" in rules and "arm.stream" not in rules


def floats_as_on_the_host(block, shape, tmp_path):
    """Compute a float layer by the rule that writes its products out; sums round in any order."""
    rules = same_as_the_host(
        module(block, shape), [random_floats(0, *shape)], tmp_path, "cortex-a53", 2e-5
    )
    assert "arm.floats" in rules


@pytest.mark.parametrize(
    "channels, kernel, options",
    [
        (20, 1, {}),
        (64, 1, {}),
        (6, 3, {"padding": 1}),
        (16, 3, {"padding": 1, "strides": 2}),
        (32, 3, {"padding": 2, "dilation": 2}),
    ],
)
def test_runs_of_channels_are_multiplied(channels, kernel, options, tmp_path):
    def block(g, x):
        y = g.conv(x, random_floats(1, channels, 3, 1, 1))
        return g.conv(y, random_floats(2, 24, channels, kernel, kernel), **options)

    floats_as_on_the_host(block, (1, 3, 4, 14), tmp_path)


@pytest.mark.parametrize(
    "kernel, options",
    [
        ((7, 7), {"padding": 3, "strides": 2}),
        ((3, 3), {"padding": 1}),
        ((5, 5), {"dilation": (2, 1)}),
        ((3, 11), {"padding": (1, 5)}),
    ],
)
def test_rows_of_images_are_multiplied(kernel, options, tmp_path):
    def block(g, x):
        return g.conv(x, random_floats(1, 16, 3, *kernel), **options)

    floats_as_on_the_host(block, (1, 3, 12, 28), tmp_path)


def test_rows_of_a_batch_are_multiplied_and_signs_packed(tmp_path):
    def block(g, x):
        return g.dense(g.sign(g.dense(x, random_floats(1, 48, 64))), random_signs(2, 64, 8))

    floats_as_on_the_host(block, (6, 48), tmp_path)
