"""Schedules for x86 processors with AVX2 or AVX-512."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import LoopRV, SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, PACK, PADDED, RESULT, VALUE
from bnn_tvm.target import Target

from . import x86_intrinsics
from .rule import Rule, kernel_kind
from .steps import REGISTERS, extent, find_block, unroll_all, vectorize_innermost
from .tiles import Tile, choose_tile

_LAYERS = ("bitserial_conv2d", "bitserial_dense", "conv2d", "dense")
# Bits of a packed word that one intrinsic makes.
_WORD = 32


def _is_vector_x86(target: Target) -> bool:
    return target.architecture == "x86_64" and target.vector_bits >= 256


def _tile_layer(func: tirx.PrimFunc, target: Target, tunable: bool) -> Schedule | None:
    """Keep a tile of pixels times channel vectors in registers over the whole reduction.

    The weights of one channel tile stay in L1 while all pixels pass.
    """
    if not _is_vector_x86(target) or kernel_kind(func) not in _LAYERS:
        return None
    sch = Schedule(func)
    pack, result = find_block(sch, PACK), find_block(sch, RESULT)
    lanes = target.vector_bits // 32
    tile = _choose_tile(sch, lanes, target)
    output = pack if pack is not None else result
    here, word = _tile_output(sch, output, tile, lanes)
    if pack is not None:
        _compute_value(sch, word, lanes)
        if result is not None:
            sch.reverse_compute_at(result, word, preserve_unit_loops=True)
            vectorize_innermost(sch, result, lanes)
    _accumulate_in_registers(sch, here)
    if pack is not None:
        _pack_words(sch, pack)
    else:
        vectorize_innermost(sch, result, lanes)
    _schedule_padding(sch, lanes)
    return sch


def _choose_tile(sch: Schedule, lanes: int, target: Target) -> Tile:
    *_, x, block, _lane = _spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    step = _WORD // lanes if find_block(sch, PACK) is not None else 1
    return choose_tile(x, block, step, target)


def _spatial_extents(sch: Schedule, block: SBlockRV) -> list[int]:
    is_spatial = 0
    return [
        int(var.dom.extent) for var in sch.get(block).iter_vars if int(var.iter_type) == is_spatial
    ]


def _tile_output(sch: Schedule, output: SBlockRV, tile: Tile, lanes: int) -> tuple[LoopRV, LoopRV]:
    """Tile the loops of an output; return the loop around one tile and the one in its words."""
    is_packed = sch.get(output).name_hint == PACK
    loops = sch.get_loops(output)
    *outer, x, channel = loops[:-1] if is_packed else loops
    channels = tile.vectors * lanes // (_WORD if is_packed else 1)
    channel_tiles, in_channels = sch.split(channel, [None, channels])
    x_tiles, in_x = sch.split(x, [None, tile.pixels])
    batch, rows = outer[:1], outer[1:]
    sch.reorder(*batch, channel_tiles, *rows, x_tiles, in_x, in_channels)
    unroll_all(sch, [in_x, in_channels] if is_packed else [in_x])
    return x_tiles, in_channels


def _compute_value(sch: Schedule, word: LoopRV, lanes: int) -> None:
    value = sch.get_sblock(VALUE)
    sch.compute_at(value, word, preserve_unit_loops=True)
    vectors, lane = sch.split(sch.get_loops(value)[-1], [None, lanes])
    sch.unroll(vectors)
    sch.vectorize(lane)
    sch.set_scope(value, 0, REGISTERS)


def _accumulate_in_registers(sch: Schedule, here: LoopRV) -> None:
    block = sch.get_sblock(ACCUMULATE)
    sch.compute_at(block, here, preserve_unit_loops=True)
    outside = len(sch.get_loops(block)) - len(sch.get(block).iter_vars)
    loops = sch.get_loops(block)[outside:]
    spatial = len(_spatial_extents(sch, block))
    *_, x, vectors, lane = loops[:spatial]
    reduction = loops[spatial:]
    sch.reorder(*reduction, x, vectors, lane)
    unroll_all(sch, [x, vectors])
    sch.vectorize(lane)
    init = sch.decompose_reduction(block, reduction[0])
    *_, init_x, init_vectors, init_lane = sch.get_loops(init)
    unroll_all(sch, [init_x, init_vectors])
    sch.vectorize(init_lane)
    sch.set_scope(block, 0, REGISTERS)


def _pack_words(sch: Schedule, pack: SBlockRV) -> None:
    bit = sch.get_loops(pack)[-1]
    if extent(sch, bit) != _WORD:
        return
    sch.decompose_reduction(pack, bit)
    dtype = str(sch.get(pack).reads[-1].source.dtype)
    sch.tensorize(bit, x86_intrinsics.PACK[dtype])


def _schedule_padding(sch: Schedule, lanes: int) -> None:
    padded = find_block(sch, PADDED)
    if padded is not None:
        vectorize_innermost(sch, padded, lanes)


def _stream(func: tirx.PrimFunc, target: Target, tunable: bool) -> Schedule | None:
    """Pass once over memory: poolings, elementwise chains and the packing of their signs."""
    if not _is_vector_x86(target) or not kernel_kind(func) or kernel_kind(func) in _LAYERS:
        return None
    sch = Schedule(func)
    lanes = target.vector_bits // 32
    pack, result = find_block(sch, PACK), find_block(sch, RESULT)
    if pack is not None:
        word = sch.get_loops(pack)[-2]
        _compute_value(sch, word, lanes)
        _pool_at(sch, word, lanes)
        _pack_words(sch, pack)
    if result is not None:
        if pack is None:
            _pool_at(sch, sch.get_loops(result)[-2], lanes)
        vectorize_innermost(sch, result, lanes)
    _schedule_padding(sch, lanes)
    return sch


def _pool_at(sch: Schedule, here: LoopRV, lanes: int) -> None:
    """Compute a pooling where its result is used, one vector after the other."""
    pool = find_block(sch, ACCUMULATE)
    if pool is None:
        return
    sch.compute_at(pool, here, preserve_unit_loops=True)
    *_, channel, ky, kx = sch.get_loops(pool)
    vectors, lane = sch.split(channel, [None, min(lanes, extent(sch, channel))])
    sch.reorder(vectors, ky, kx, lane)
    sch.vectorize(lane)
    unroll_all(sch, [vectors, ky, kx])
    init = sch.decompose_reduction(pool, ky)
    sch.vectorize(sch.get_loops(init)[-1])
    sch.set_scope(pool, 0, REGISTERS)


RULES = (
    Rule("x86.register_tile", "hand", _tile_layer),
    Rule("x86.stream", "hand", _stream),
)
"""In order; the first that fits is taken."""
