"""Packing at compile time and at run time against the reference, for every width of word."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import random_floats, random_signs, run_kernel
from tvm import te

from bnn_tvm import reference
from bnn_tvm.kernels.bits import (
    bitunpack,
    block_outputs,
    pack_elements,
    pack_signs,
    word_count,
    word_dtype,
)

WORDS = (8, 16, 32)
CHANNELS = (1, 7, 8, 31, 32, 33, 64, 70)


def octets(words: np.ndarray) -> np.ndarray:
    """View words of any width as bytes, the same for all widths."""
    return np.ascontiguousarray(words).view(np.uint8)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("word_bits", WORDS)
def test_signs_are_packed_as_the_reference_does(channels, word_bits):
    signs = random_signs(channels, 3, 2, channels)
    packed = pack_signs(signs, word_bits)
    assert packed.dtype == np.dtype(word_dtype(word_bits))
    assert packed.shape == (3, 2, word_count(channels, word_bits))
    np.testing.assert_array_equal(octets(packed), octets(reference.pack_channels(signs)))


@pytest.mark.parametrize("channels", (5, 32, 39))
@pytest.mark.parametrize("word_bits", (8, 32))
def test_packing_and_unpacking_on_the_device(channels, word_bits):
    x = random_floats(channels, 2, 3, channels)
    x[0, 0, :4] = [0.0, -0.0, 1e-38, -1e-38]
    x[0, 1, 0] = np.nan
    data = te.placeholder(x.shape, "float32", "data")
    pack = te.create_prim_func([data, pack_elements(data, x.shape, word_bits)])
    (packed,) = run_kernel(pack, [x])
    np.testing.assert_array_equal(octets(packed), octets(reference.pack_channels(x)))
    words = te.placeholder(packed.shape, word_dtype(word_bits), "words")
    unpack = te.create_prim_func([words, bitunpack(words, channels)])
    (signs,) = run_kernel(unpack, [packed])
    np.testing.assert_array_equal(signs, reference.det_sign(x))


def test_outputs_are_blocked_and_filled_with_zeros():
    weight = np.arange(1, 31).reshape(5, 3, 2)
    blocked = block_outputs(weight, 2, 4)
    assert blocked.shape == (4, 3, 2, 2)
    np.testing.assert_array_equal(np.moveaxis(blocked, -1, 1).reshape(8, 3, 2)[:5], weight)
    assert not blocked[2, :, :, 1].any() and not blocked[3].any()
