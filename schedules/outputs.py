"""The outputs of a kernel: numbers, packed signs, or several of both."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, COMMON, PACK, POOLED, RESULT

from .steps import extent, find_block, spatial_extents


@dataclass(frozen=True)
class Packed:
    """Blocks of one output of signs.

    Attributes
    ----------
    value, pack : SBlockRV
        Computes what signs are taken of, and packs them.
    """

    value: SBlockRV
    pack: SBlockRV


@dataclass(frozen=True)
class Averaged:
    """Blocks of an output of averages.

    Attributes
    ----------
    sums, result : SBlockRV
        Adds windows up, and divides the sums.
    height : int
        Rows of a window; windows lie side by side.
    """

    sums: SBlockRV
    result: SBlockRV
    height: int


@dataclass(frozen=True)
class Outputs:
    """Blocks that write the outputs of a kernel.

    Attributes
    ----------
    main : SBlockRV
        The numbers that all outputs have in common, or else the only output. The other outputs
        follow its loops.
    results : tuple of SBlockRV
        Write numbers; without `main`.
    packed : tuple of Packed
        Write signs.
    averaged : Averaged, optional
        Writes averages of windows of `main`; not in `results`.
    main_is_numbers : bool
        False if `main` packs signs.
    main_is_output : bool
        False if `main` stays in registers.
    group : int
        Channels that a word holds; 1 if nothing is packed.
    together : bool
        Whether numbers and words can be written in one pass: channels fill whole words.
    """

    main: SBlockRV
    results: tuple[SBlockRV, ...]
    packed: tuple[Packed, ...]
    averaged: Averaged | None
    main_is_numbers: bool
    main_is_output: bool
    group: int
    together: bool

    @property
    def channels_per_element(self) -> int:
        """Channels that one element of the main output stands for."""
        return 1 if self.main_is_numbers else self.group


def find_outputs(sch: Schedule) -> Outputs | None:
    """Find the outputs of a kernel; None if they cannot be computed together.

    That is when several outputs have no common numbers, or when those and the words they are
    packed into are of different channels.
    """
    blocks = sch.get_output_blocks(sch.get_sblock("root"))
    packs = [block for block in blocks if _name(sch, block).startswith(PACK)]
    results = [block for block in blocks if _name(sch, block).startswith(RESULT)]
    if not blocks or len(packs) + len(results) != len(blocks):
        return None
    packed = [Packed(_packed_value(sch, pack), pack) for pack in packs]
    group = extent(sch, sch.get_loops(packs[0])[-1]) if packs else 1
    common = find_block(sch, COMMON)
    averaged = None if common is None else _find_averaged(sch, results)
    results = [block for block in results if averaged is None or block != averaged.result]
    main = common or (results or packs)[0]
    others = [block for block in results if block != main]
    numbers = common is not None or bool(results)
    followers = [*others, *(p.value for p in packed)] if numbers else []
    together = all(_channels(sch, block) == _channels(sch, main) for block in followers)
    if any(_sums_anew(sch, block) for block in followers) or (common and not together):
        return None
    if not numbers and len(packs) > 1:
        return None
    return Outputs(
        main, tuple(others), tuple(packed), averaged, numbers, common is None, group, together
    )


def count_channels(sch: Schedule, outputs: Outputs) -> int:
    """Count the channels of the main output, packed or not."""
    return _channels(sch, outputs.main) * outputs.channels_per_element


def _name(sch: Schedule, block: SBlockRV) -> str:
    return str(sch.get(block).name_hint)


def _find_averaged(sch: Schedule, results: list[SBlockRV]) -> Averaged | None:
    for result in results:
        sums = sch.get_producers(result)[0]
        if _name(sch, sums) == POOLED:
            height, _ = (int(axis.dom.extent) for axis in sch.get(sums).iter_vars[-2:])
            return Averaged(sums, result, height)
    return None


def _packed_value(sch: Schedule, pack: SBlockRV) -> SBlockRV:
    (value,) = sch.get_producers(pack)
    return value


def _channels(sch: Schedule, block: SBlockRV) -> int:
    return spatial_extents(sch, block)[-1]


def _sums_anew(sch: Schedule, block: SBlockRV) -> bool:
    """Tell whether an output reads the sums themselves and not the common numbers."""
    return ACCUMULATE in [_name(sch, producer) for producer in sch.get_producers(block)]
