"""Count the bits of many words with a full adder in front of the popcount.

The running parity ``s`` of the words seen so far is, in each bit, the last digit of how often that
bit was 1. Adding two words to it makes a carry, which is popcounted in place of the words::

    s1 = s ^ t1;  s2 = s1 ^ t2;  carries += popcount((s & ~s1) | (s1 & ~s2));  s = s2

and in the end the count is ``2 * carries + popcount(s)``. With ``t = a ^ w`` and three-input logic,
two words take five instructions (three of logic, popcount, add) where counting each takes six.

Carries are counted down from half of all bits: ``2 * (bits / 2 - carries) - popcount(s)`` is the
number of bits that are 0. Of differing bits this is how many agree, which is what most networks
add up, in no more instructions than the number of ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import te, tirx
from tvm.ir import Expr, _ffi_api

from .integers import Integers

CARRY = "bnn.carry"
"""Operator of three running parities; schedules may lower it to one instruction."""

_ffi_api.RegisterOp(CARRY, "Carries of the steps between three running parities.")
tvm.ir.register_op_attr(CARRY, "TVectorizable", True)
tvm.ir.register_op_attr(CARRY, "TCallEffectKind", tirx.CallEffectKind.Pure.value)
tvm.ir.register_op_attr(CARRY, "TScriptPrinterName", CARRY)


def carry_of(before: Expr, middle: Expr, after: Expr) -> Expr:
    """Say in which bits two steps of a running parity carry: where it falls from 1 to 0."""
    return (before & ~middle) | (middle & ~after)


tirx.op.register_intrin_lowering(CARRY, "default", f=lambda call: carry_of(*call.args))


def come_in_pairs(words: int) -> bool:
    """Tell whether so many words of one place can be counted two at a time."""
    return words % 2 == 0


def start_pairs(ones: np.ndarray, bits: int) -> np.ndarray:
    """Give the states that `count_pairs` starts from where some of its bits are counted already.

    Parameters
    ----------
    ones : numpy.ndarray
        How many of those are 1.
    bits : int
        How many there are, counted already or not.

    Returns
    -------
    numpy.ndarray
        (2, *shape of the ones) int32: parities, and what is left of the number of carries.
    """
    return np.stack([ones & 1, bits // 2 - (ones >> 1)]).astype(np.int32)


def count_pairs(
    shape: tuple[int, ...],
    inner: tuple[int, ...],
    word: Callable[[tuple[Expr, ...], list[Expr]], Expr],
    dtype: str,
    name: str,
) -> Integers:
    """Count the bits of words that are 1, two words at a time.

    Parameters
    ----------
    shape : tuple of int
        Of the result.
    inner : tuple of int
        Extents of the reduction; the last is even.
    word : callable
        Gives the word at an index of the result and one of the reduction.
    dtype : str
        Of a word, unsigned.
    name : str
        Of the stage that reduces.

    Returns
    -------
    Integers
        The ones, as what remains of all bits beside the zeros.
    """
    *outer, words = inner
    extents = (*outer, words // 2)
    axes = [te.reduce_axis((0, extent), f"k{i}") for i, extent in enumerate(extents)]
    half = math.prod(inner) * np.iinfo(dtype).bits // 2
    start = tirx.const(0, dtype), tirx.const(half, dtype)
    fold = te.comm_reducer(lambda state, pair: _add_pair(state, pair, dtype), lambda *_: start)

    def pair(*index: Expr) -> tuple[Expr, Expr]:
        *place, k = axes
        words = [word(index, [*place, 2 * k + nth]) for nth in (0, 1)]
        return fold(tuple(words), axis=axes)

    parity, rest = te.compute(shape, pair, name=name)

    def zeros(*index: Expr) -> Expr:
        return (2 * rest(*index) - tirx.popcount(parity(*index))).astype("int32")

    return Integers(zeros, slope=-1, base=2 * half)


def _add_pair(state: Sequence[Expr], pair: Sequence[Expr], dtype: str) -> tuple[Expr, Expr]:
    """Add two words to a running parity, and take its carries off what is left of a number."""
    parity, rest = state
    middle = parity ^ pair[0]
    after = middle ^ pair[1]
    carry = tirx.call_intrin(dtype, tvm.ir.Op.get(CARRY), parity, middle, after)
    return after, rest - tirx.popcount(carry)
