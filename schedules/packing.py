"""What packing one word of signs is, as the kernels write it; instructions must equal it."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

WordOf = Callable[[tirx.Buffer], tirx.Expr]
"""Packs the numbers of a buffer into one word."""


def register_packing(name: str, dtype: str, bits: int, word_of: WordOf) -> str:
    """Register an intrinsic that packs numbers of a dtype into a word; return its name."""
    TensorIntrin.register(name, describe_packing(dtype, bits), _add_word(dtype, bits, word_of))
    return name


def _add_word(dtype: str, bits: int, word_of: WordOf) -> tirx.PrimFunc:
    word_dtype = f"uint{bits}"

    @T.prim_func(s_tir=True)
    def pack(
        value: T.Buffer((bits,), dtype, offset_factor=1),
        word: T.Buffer((1,), word_dtype, offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(word[0:1], value[0:bits])
            T.writes(word[0:1])
            word[0] = word[0] + word_of(value)

    return pack


def describe_packing(dtype: str, bits: int) -> tirx.PrimFunc:
    """Say in scalar code what packing one word does, as the kernels write it."""
    word_dtype = f"uint{bits}"

    @T.prim_func(s_tir=True)
    def describe(
        value: T.Buffer((bits,), dtype, offset_factor=1),
        word: T.Buffer((1,), word_dtype, offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(word[0:1], value[0:bits])
            T.writes(word[0:1])
            for bit in T.serial(0, bits):
                with T.sblock("pack"):
                    v = T.axis.reduce(bits, bit)
                    word[0] = word[0] + T.Select(
                        value[v] < T.Cast(dtype, 0),
                        T.Cast(word_dtype, 0),
                        T.shift_left(T.Cast(word_dtype, 1), T.Cast(word_dtype, v)),
                    )

    return describe
