"""Schedules for x86 processors with AVX2 or AVX-512.

Measured with ResNetE18 at 224x224: one thread on one core of a two-core Xeon of family 6, model 207
(AVX-512 with VPOPCNTDQ), TVM 0.27.0, tuned, median of each kernel alone on warm data. GOP/s counts
2 an accumulate; in registers the core does 1,860 GOP/s of xor, popcount and addition, and 177
GFLOP/s of multiply-adds.

===============================================  ==========  ==========  ===========  ==========
register_tile, x86-64-vpopcntdq                  56x56x64    28x28x128   14x14x256    7x7x512
===============================================  ==========  ==========  ===========  ==========
3x3 binary, bits to bits                         1,990       2,100       2,170        2,180
3x3 binary, shortcut add, floats and signs out   1,730       1,940       2,060        2,020
3x3 binary, stride 2 to this size, floats out    (none)      1,740       1,940        2,100
1x1 float downsampling, add, floats and signs    (none)      155         161          158
===============================================  ==========  ==========  ===========  ==========

On one core of an EPYC of family 25, model 17 (Zen 4, x86-64-zen4; 2,384 to 2,522 GOP/s of xor,
popcount and addition), medians of layers from bits to bits: 2,340 GOP/s at 56x56x64, 2,338, 2,601
and 2,872 at 7x7x512, 96, 98, 108 and 119 % of that peak in the same run, since no padding is read.
With AVX2 bytes there: 804, 807, 867 and 890 GOP/s, 95, 99, 103 and 107 % of its peak.

The 7x7 float stem with padding, transposition and BatchNorm of the image ran at 164 GFLOP/s as a
register tile; the winograd rule takes 0.73 of its time, and 0.55 of that of the stem and its 3x3
max-pool with BatchNorm and packing in one kernel (900 us beside 1,470 and 185): 605 us of
multiply-adds, 90 of bringing rows to the points, 205 of reading off and pooling.
"""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule

from bnn_tvm.kernels.stages import ACCUMULATE
from bnn_tvm.target import Target

from .choices import Choose
from .outputs import count_channels, find_outputs
from .rule import Rule, is_layer
from .steps import spatial_extents
from .streams import flatten, join, stream
from .tiles import rank_dot_tiles
from .vectors import (
    VectorUnit,
    compute_outputs,
    fill_padded,
    rule_for,
    tile_layer,
    tile_output,
)
from .winograd import tile_points
from .x86_dot import DotInstruction, accumulate_dots, find_dot
from .x86_intrinsics import pack_intrinsic


def _vector_unit(target: Target) -> VectorUnit | None:
    fits = target.architecture == "x86_64" and target.has_vector_rules
    return VectorUnit(target, pack_intrinsic) if fits else None


def _tile_layer(func: tirx.PrimFunc, unit: VectorUnit, choose: Choose) -> Schedule | None:
    if not is_layer(func):
        return None
    dot = find_dot(func, unit.target)
    tiled = None if dot is None else _tile_dots(func, unit, dot, choose)
    return tile_layer(func, unit, choose) if tiled is None else tiled


def _tile_dots(
    func: tirx.PrimFunc, unit: VectorUnit, dot: DotInstruction, choose: Choose
) -> Schedule | None:
    """Keep a tile of pixels times channel vectors of summed products in registers.

    Not of fewer channels than lanes: TVM would compute but those lanes that are used, which is no
    block that an instruction stands for.
    """
    sch = Schedule(func)
    outputs = find_outputs(sch)
    *_, x, blocks, lanes = spatial_extents(sch, sch.get_sblock(ACCUMULATE))
    if outputs is None or count_channels(sch, outputs) < lanes:
        return None
    step = max(outputs.group // lanes, 1)
    tile = choose("tile", rank_dot_tiles(x, blocks, step, unit.target))
    here, inside, _ = tile_output(sch, outputs, tile.pixels, tile.vectors * lanes, unit, choose)
    compute_outputs(sch, outputs, inside, unit)
    accumulate_dots(sch, here, dot)
    fill_padded(sch, unit)
    return sch


RULES = tuple(
    Rule(f"x86.{name}", "hand", rule_for(_vector_unit, schedule))
    for name, schedule in (
        ("winograd", tile_points),
        ("register_tile", _tile_layer),
        ("flatten", flatten),
        ("stream", stream),
        ("join", join),
    )
)
"""In order; the first that fits is taken."""
