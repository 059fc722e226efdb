"""Instructions of x86 processors that sum neighbouring products in each lane."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx
from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T


def _describe_bytes(lanes: int) -> tirx.PrimFunc:
    """Say in scalar code what ``vpdpbusd`` does, as the kernels write it."""

    @T.prim_func(s_tir=True)
    def describe(
        data: T.Buffer((4,), "uint8", offset_factor=1),
        weight: T.Buffer((lanes, 4), "int8", offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], data[0:4], weight[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            for lane, part in T.grid(lanes, 4):
                with T.sblock("dot"):
                    i, k = T.axis.remap("SR", [lane, part])
                    sums[i] = sums[i] + T.Cast("int32", data[k]) * T.Cast("int32", weight[i, k])

    return describe


def _vpdpbusd(lanes: int) -> tirx.PrimFunc:
    name = f"llvm.x86.avx512.vpdpbusd.{lanes * 32}"

    @T.prim_func(s_tir=True)
    def vpdpbusd(
        data: T.Buffer((4,), "uint8", offset_factor=1),
        weight: T.Buffer((lanes, 4), "int8", offset_factor=1),
        sums: T.Buffer((lanes,), "int32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], data[0:4], weight[0:lanes, 0:4])
            T.writes(sums[0:lanes])
            sums[T.ramp(0, 1, lanes)] = T.call_llvm_pure_intrin(
                T.llvm_lookup_intrinsic_id(name),
                sums.vload([0], dtype=f"int32x{lanes}"),
                T.reinterpret(
                    T.Broadcast(
                        T.reinterpret(data.vload([0], dtype="uint8x4"), dtype="int32"), lanes
                    ),
                    dtype=f"int8x{lanes * 4}",
                ),
                weight.vload([0, 0], dtype=f"int8x{lanes * 4}"),
                dtype=f"int32x{lanes}",
            )

    return vpdpbusd


def _describe_bf16(lanes: int) -> tirx.PrimFunc:
    """Say in scalar code what ``vdpbf16ps`` does, as the kernels write it."""

    @T.prim_func(s_tir=True)
    def describe(
        data: T.Buffer((2,), "uint16", offset_factor=1),
        weight: T.Buffer((lanes, 2), "uint16", offset_factor=1),
        sums: T.Buffer((lanes,), "float32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], data[0:2], weight[0:lanes, 0:2])
            T.writes(sums[0:lanes])
            for lane, part in T.grid(lanes, 2):
                with T.sblock("dot"):
                    i, k = T.axis.remap("SR", [lane, part])
                    sums[i] = sums[i] + T.reinterpret(
                        T.shift_left(T.Cast("uint32", data[k]), T.uint32(16)), dtype="float32"
                    ) * T.reinterpret(
                        T.shift_left(T.Cast("uint32", weight[i, k]), T.uint32(16)), dtype="float32"
                    )

    return describe


def _vdpbf16ps(lanes: int) -> tirx.PrimFunc:
    name = _wrapper(lanes)

    @T.prim_func(s_tir=True)
    def vdpbf16ps(
        data: T.Buffer((2,), "uint16", offset_factor=1),
        weight: T.Buffer((lanes, 2), "uint16", offset_factor=1),
        sums: T.Buffer((lanes,), "float32", offset_factor=1),
    ) -> None:
        with T.sblock("root"):
            T.reads(sums[0:lanes], data[0:2], weight[0:lanes, 0:2])
            T.writes(sums[0:lanes])
            sums[T.ramp(0, 1, lanes)] = T.call_pure_extern(
                f"float32x{lanes}",
                name,
                sums.vload([0], dtype=f"float32x{lanes}"),
                T.Broadcast(T.reinterpret(data.vload([0], dtype="uint16x2"), dtype="int32"), lanes),
                T.reinterpret(
                    weight.vload([0, 0], dtype=f"uint16x{lanes * 2}"), dtype=f"int32x{lanes}"
                ),
            )

    return vdpbf16ps


def _wrapper(lanes: int) -> str:
    return f"bnn_vdpbf16ps_{lanes}"


def _wrapper_source(lanes: int) -> str:
    """Write a function that takes integers: TVM rewrites any bfloat16 that it sees to float32."""
    sums, pairs, words = f"<{lanes} x float>", f"<{lanes * 2} x bfloat>", f"<{lanes} x i32>"
    intrinsic = f"@llvm.x86.avx512bf16.dpbf16ps.{lanes * 32}"
    return f"""
declare {sums} {intrinsic}({sums}, {pairs}, {pairs})
define linkonce_odr {sums} @{_wrapper(lanes)}({sums} %sums, {words} %x, {words} %w) alwaysinline {{
  %data = bitcast {words} %x to {pairs}
  %weight = bitcast {words} %w to {pairs}
  %result = call {sums} {intrinsic}({sums} %sums, {pairs} %data, {pairs} %weight)
  ret {sums} %result
}}
"""


_Make = Callable[[int], tirx.PrimFunc]


def _register(name: str, lanes: int, describe: _Make, implement: _Make) -> str:
    full = f"bnn.x86.{name}_{lanes}"
    TensorIntrin.register(full, describe(lanes), implement(lanes))
    return full


DOT = {
    (name, lanes * 32): _register(name, lanes, describe, implement)
    for name, describe, implement in (
        ("vpdpbusd", _describe_bytes, _vpdpbusd),
        ("vdpbf16ps", _describe_bf16, _vdpbf16ps),
    )
    for lanes in (8, 16)
}
"""The intrinsic of an instruction on vectors of so many bits."""

DOT_SOURCE = {("vdpbf16ps", lanes * 32): _wrapper_source(lanes) for lanes in (8, 16)}
"""LLVM code that the loops around an intrinsic must import."""
