"""Packed weights, masks and border corrections, evaluated in numpy as the kernels do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from relax_harness import random_floats
from tvm import tirx

from bnn_tvm import reference
from bnn_tvm.kernels.bits import pack_signs
from bnn_tvm.kernels.groups import GroupPlan
from bnn_tvm.passes.layer_weights import (
    Blocking,
    block_float_weight,
    pack_weight,
)
from bnn_tvm.passes.levels import SIGNS, Levels

BLOCKING = Blocking(lanes=4, multiple=8)
DATA = (SIGNS, Levels(1, False), Levels(3, False), Levels(2, True))


def quantized(levels: Levels, seed: int, *shape: int) -> np.ndarray:
    index = np.random.default_rng(seed).integers(0, levels.top, shape, endpoint=True)
    return levels.values(index).astype(np.float32)


def popcount(words: np.ndarray) -> np.ndarray:
    octets = np.ascontiguousarray(words)[..., None].view(np.uint8)
    return np.unpackbits(octets, axis=-1).sum(axis=-1, dtype=np.int64)


def first_of(plan: GroupPlan, block: int, blocked: np.ndarray) -> int:
    return int(plan.first(tirx.const(block), len(blocked)))


def disagreements(packed, x: np.ndarray, data: Levels, outputs: int, word_bits: int) -> np.ndarray:
    """Count as a kernel does: one pixel (channels,) with 1x1 filters; (outputs,)."""
    planes, plan = packed.planes, packed.groups
    digits = [pack_signs((data.index(x) >> p) & 1, word_bits) for p in range(planes.data)]
    counts = np.zeros(outputs, np.int64)
    for output, p, q in itertools.product(range(outputs), range(planes.data), range(planes.weight)):
        block, lane = divmod(output, BLOCKING.lanes)
        first, size = first_of(plan, block, packed.words), packed.words.shape[-2] // planes.weight
        weight = packed.words[block, 0, 0, q * size : (q + 1) * size, lane]
        bits = digits[p][first : first + size] ^ weight
        bits = bits if packed.mask is None else bits & packed.mask[block, :, lane]
        counts[output] += popcount(bits).sum() << (p + q)
    return counts


@pytest.mark.parametrize("word_bits", (8, 32))
@pytest.mark.parametrize("bits", (1, 2, 5))
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("outputs, inputs, groups", [(6, 37, 1), (8, 64, 2), (6, 21, 3), (8, 8, 8)])
def test_disagreements_give_the_dot_product(outputs, inputs, groups, data, bits, word_bits):
    weight = quantized(Levels(bits, True), 1, outputs, 1, 1, inputs // groups)
    weight.reshape(-1)[:2] = Levels(bits, True).values(np.arange(2))
    x = quantized(data, 2, inputs)
    packed = pack_weight(weight, data, groups, BLOCKING, word_bits)
    count = disagreements(packed, x, data, outputs, word_bits)
    dot = (packed.base - packed.slope * count) / packed.divisor
    expected = reference.conv2d(x.reshape(1, 1, 1, -1), weight, groups=groups)
    np.testing.assert_allclose(dot, expected[0, 0, 0], atol=1e-5)


def test_groups_of_whole_words_read_their_own_words_only():
    weight = quantized(SIGNS, 1, 16, 3, 3, 32)
    apart = pack_weight(weight, SIGNS, 2, BLOCKING, 32)
    together = pack_weight(weight[..., :16], SIGNS, 2, BLOCKING, 32)
    assert apart.words.shape == (4, 3, 3, 1, 4) and apart.mask is None
    assert together.words.shape == (4, 3, 3, 1, 4) and together.mask.shape == (4, 1, 4)


def test_weights_without_levels_are_refused():
    with pytest.raises(ValueError, match="not quantized"):
        pack_weight(random_floats(1, 4, 1, 1, 8), SIGNS, 1, BLOCKING, 32)


@pytest.mark.parametrize("outputs, inputs, groups", [(6, 5, 1), (8, 8, 2), (6, 9, 3), (4, 4, 4)])
def test_float_weights_are_spread_over_what_their_block_reads(outputs, inputs, groups):
    weight, x = random_floats(1, outputs, 1, 1, inputs // groups), random_floats(2, inputs)
    blocked, plan = block_float_weight(weight, groups, BLOCKING)
    assert blocked.shape == (2, 1, 1, plan.size, 4)
    firsts = [first_of(plan, block, blocked) for block in range(len(blocked))]
    assert max(firsts) + plan.size <= inputs
    y = [x[at : at + plan.size] @ blocked[block, 0, 0] for block, at in enumerate(firsts)]
    expected = reference.conv2d(x.reshape(1, 1, 1, -1), weight, groups=groups)[0, 0, 0]
    np.testing.assert_allclose(np.concatenate(y)[:outputs], expected, atol=1e-5)
