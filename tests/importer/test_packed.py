"""Packed weights, written word by word in the order that BMXNet's converters use."""

from __future__ import annotations

import numpy as np
import pytest
from importer_harness import pack_row_major, pack_transposed

from bnn_tvm.errors import ModelError
from bnn_tvm.importer.packed import decode_convolution, decode_dense


def signs(*shape):
    return np.where(np.random.default_rng(7).random(shape) < 0.5, -1, 1).astype(np.float32)


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("nominal", [False, True])
def test_convolution_words_are_row_major(width, nominal):
    weight = signs(6, 64, 3, 2)
    words = pack_row_major(weight, width)
    shaped = words.reshape(6, 64 // width, 3, 2) if nominal else words
    decoded = decode_convolution(shaped, weight.shape)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, weight)


@pytest.mark.parametrize("width", [32, 64])
def test_dense_words_run_along_the_units_first(width):
    weight = signs(5, 128)
    words = pack_transposed(weight, width)
    np.testing.assert_array_equal(decode_dense(words, weight.shape), weight)


def test_the_lowest_bit_comes_first():
    word = np.array([0b101], "<u4").view("<f4")
    decoded = decode_convolution(word, (1, 32, 1, 1)).reshape(-1)
    np.testing.assert_array_equal(np.flatnonzero(decoded > 0), [0, 2])


@pytest.mark.parametrize("count", [35, 37])
def test_another_number_of_words_is_refused(count):
    with pytest.raises(ModelError, match=f"{count} words of 32 bits"):
        decode_convolution(np.zeros(count, np.float32), (4, 32, 3, 3))


def test_dense_inputs_must_fill_words():
    with pytest.raises(ModelError, match="48 inputs are no multiple of the 32-bit word"):
        decode_dense(np.zeros(3, np.float32), (2, 48))


def test_integers_are_no_packed_words():
    with pytest.raises(ModelError, match="int32"):
        decode_dense(np.zeros(2, np.int32), (2, 32))
