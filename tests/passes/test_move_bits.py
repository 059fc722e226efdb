"""Signs are concatenated and sliced as words where whole groups of channels move."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import (
    TARGETS,
    assert_same,
    kernel_kinds,
    lower,
    module,
    operators,
    random_floats,
    random_signs,
    run,
    run_lowered,
)
from tvm import relax

from bnn_tvm.passes.dataflow import main_bindings
from bnn_tvm.passes.move_bits import can_move_bits, move_bits

op = relax.op
CHANNELS = 96


def signs(g, x):
    """Signs of a layer's output, which is channels-last inside."""
    identity = np.eye(CHANNELS, dtype=np.float32)[:, :, None, None]
    return g.sign(g.conv(x, identity))


def conv(g, x):
    channels = int(x.ty.shape[1])
    return g.conv(x, random_signs(1, 5, channels, 1, 1))


def cut(begin, end, axis=1, stride=1):
    return lambda g, x: g(op.strided_slice(signs(g, x), [axis], [begin], [end], [stride]))


def joined(axis, first=(0, 32), second=(0, 96)):
    def body(g, x):
        s = signs(g, x)
        parts = [g(op.strided_slice(s, [1], [b], [e])) for b, e in (first, second)]
        return g(op.concat(parts if axis == 1 else [s, s], axis))

    return body


# Bodies, and whether their words move: then nothing is packed anew.
CASES = {
    "concatenated channels": (joined(1), True),
    "concatenated rows": (joined(2), True),
    "concatenated images": (joined(0), True),
    "first word": (cut(0, 32), True),
    "middle word": (cut(32, 64), True),
    "to the end": (cut(32, 1 << 30), True),
    "rows": (cut(1, 3, axis=2), True),
    "every second column": (cut(0, 4, axis=3, stride=2), True),
    "half a word": (cut(0, 16), False),
    "from inside of a word": (cut(16, 96), False),
    "every second channel": (cut(0, 96, stride=2), False),
    "concatenated parts of words": (joined(1, (0, 16), (0, 96)), False),
}


@pytest.mark.parametrize("target", TARGETS[::2])
@pytest.mark.parametrize("name", CASES)
def test_moved_as_words_or_packed_anew(name, target):
    body, moves = CASES[name]
    mod = module(lambda g, x: conv(g, body(g, x)), (1, CHANNELS, 3, 4))
    x = random_floats(1, 1, CHANNELS, 3, 4)
    assert ("bitpack" not in kernel_kinds(lower(mod, target))) == moves
    assert_same(run(mod, [x]), run_lowered(mod, [x], target))


def test_words_that_are_also_read_as_numbers():
    def body(g, x):
        both = g(op.concat([signs(g, x), g.sign(x)], 1))
        return [conv(g, both), g(op.multiply(both, relax.const(2.0)))]

    mod, x = module(body, (1, CHANNELS, 3, 4)), random_floats(1, 1, CHANNELS, 3, 4)
    assert_same(run(mod, [x]), run_lowered(mod, [x]))


def test_levels_of_several_bits_move_as_numbers():
    def body(g, x):
        quantized = g.quantize(x, 2)
        return conv(g, g(op.concat([quantized, quantized], 1)))

    mod, x = module(body, (1, CHANNELS, 3, 4)), random_floats(1, 1, CHANNELS, 3, 4)
    assert "bitpack" in kernel_kinds(lower(mod))
    assert_same(run(mod, [x]), run_lowered(mod, [x]), atol=1e-5)


def last_call(body, *shape):
    return main_bindings(module(body, shape))[-2].value


@pytest.mark.parametrize("word_bits, words", [(32, (1, 3)), (8, (4, 12))])
def test_channels_are_counted_in_words(word_bits, words):
    call = last_call(lambda g, x: g(op.strided_slice(x, [1, -1], [1, 32], [2, 96])), 2, 4, 128)
    data = relax.Var("words", relax.TensorType((2, 4, 128 // word_bits), f"uint{word_bits}"))
    assert can_move_bits(call)
    moved = move_bits(call, [data], word_bits)
    begin, end = ([int(n.value) for n in moved.args[i].fields] for i in (2, 3))
    assert (begin, end) == ([1, words[0]], [2, words[1]])


def test_other_operations_do_not_move_words():
    mod = module(lambda g, x: g(op.reshape(x, (2, 128))), (2, 4, 32))
    assert operators(mod) == ["reshape"]
    assert not can_move_bits(main_bindings(mod)[0].value)
