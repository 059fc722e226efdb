"""The border of packed data stands for -1 or +1 in every channel of every plane."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import te

from bnn_tvm.kernels.bits import pack_signs, word_count
from bnn_tvm.kernels.bitserial import border_word
from bnn_tvm.kernels.border import nearest_row, surround
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.target import get_target


@pytest.mark.parametrize("word_bits", [8, 32])
@pytest.mark.parametrize("channels", [5, 32, 40, 70])
@pytest.mark.parametrize("bit", [0, 1])
def test_every_plane_is_padded_alike(word_bits, channels, bit):
    planes, words = 3, word_count(channels, word_bits)
    dtype = f"uint{word_bits}"
    data = te.placeholder((1, 2, 2, planes * words), dtype, "data")
    window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    padded = surround(data, window, border_word(channels, word_bits, words, bit))
    module = tvm.IRModule({"main": te.create_prim_func([data, padded])})
    run = tvm.compile(module, target=get_target("x86-64").to_tvm()).jit()["main"]
    given = np.zeros((1, 2, 2, planes * words), dtype)
    result = tvm.runtime.tensor(np.empty((1, 4, 4, planes * words), dtype))
    run(tvm.runtime.tensor(given), result)
    plane = pack_signs(np.full(channels, 2 * bit - 1), word_bits)
    expected = np.broadcast_to(np.tile(plane, planes), (1, 4, 4, planes * words)).copy()
    expected[:, 1:3, 1:3] = 0
    np.testing.assert_array_equal(result.numpy(), expected)


def test_numbers_of_rows_that_are_not_there_give_the_nearest():
    table = te.placeholder((3, 2), "float32", "table")
    numbers = te.placeholder((5,), "int32", "numbers")
    rows = te.compute((5, 2), lambda i, j: table(nearest_row(table.shape[0], numbers, i), j))
    module = tvm.IRModule({"main": te.create_prim_func([table, numbers, rows])})
    run = tvm.compile(module, target=get_target("x86-64").to_tvm()).jit()["main"]
    given = np.arange(6, dtype=np.float32).reshape(3, 2)
    result = tvm.runtime.tensor(np.empty((5, 2), np.float32))
    wanted = np.array([-(2**31), 0, 2, 3, 2**31 - 1], np.int32)
    run(tvm.runtime.tensor(given), tvm.runtime.tensor(wanted), result)
    np.testing.assert_array_equal(result.numpy(), given[[0, 0, 2, 2, 2]])
