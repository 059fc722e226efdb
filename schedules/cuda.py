"""Schedules for NVIDIA GPUs."""

from __future__ import annotations

from tvm import tirx
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bnn_tvm.kernels.stages import PACK
from bnn_tvm.target import Target

from .choices import Choose
from .cuda_gemm import multiply
from .cuda_rows import LANES
from .rule import Rule, kernel_kind
from .steps import spatial_extents

# Threads of a block of kernels that have no shape of their own.
_THREADS = (256, 128, 64)


def _one_thread_each(func: tirx.PrimFunc, target: Target, choose: Choose) -> Schedule | None:
    """Compute each element of an output by one thread: fits every kernel.

    A reduction that one output reads is computed by its thread; one that several read, or that is
    packed, is a launch of its own and lies in global memory.
    """
    if target.kind != "cuda":
        return None
    sch = Schedule(func)
    threads = choose("threads", _THREADS)
    outputs = {_name(sch, block) for block in sch.get_output_blocks(sch.get_sblock("root"))}
    _inline(sch, outputs)
    for block in reversed(_blocks(sch)):
        consumer = _only_consumer(sch, block)
        if kernel_kind(func) and consumer is not None and not _name(sch, consumer).startswith(PACK):
            sch.compute_at(block, sch.get_loops(consumer)[-1], preserve_unit_loops=True)
            sch.set_scope(block, 0, "local")
        else:
            _bind(sch, block, threads)
    return sch


def _blocks(sch: Schedule) -> list[SBlockRV]:
    return list(sch.get_child_blocks(sch.get_sblock("root")))


def _name(sch: Schedule, block: SBlockRV) -> str:
    return str(sch.get(block).name_hint)


def _inline(sch: Schedule, outputs: set[str]) -> None:
    """Compute what is no output and no reduction where it is used."""
    for block in _blocks(sch):
        is_spatial = len(spatial_extents(sch, block)) == len(sch.get(block).iter_vars)
        if is_spatial and _name(sch, block) not in outputs:
            sch.compute_inline(block)


def _only_consumer(sch: Schedule, block: SBlockRV) -> SBlockRV | None:
    consumers = sch.get_consumers(block)
    return consumers[0] if len(consumers) == 1 else None


def _bind(sch: Schedule, block: SBlockRV, threads: int) -> None:
    """Divide the elements that a block writes among threads, the bits of a word among a warp."""
    loops = sch.get_loops(block)[: len(spatial_extents(sch, block))]
    whole = sch.fuse(*loops) if loops else sch.add_unit_loop(block)
    if _name(sch, block).startswith(PACK):
        blocks, lane = sch.split(whole, [None, threads // LANES])
        sch.bind(sch.get_loops(block)[-1], "threadIdx.x")
        sch.bind(lane, "threadIdx.y")
    else:
        blocks, lane = sch.split(whole, [None, threads])
        sch.bind(lane, "threadIdx.x")
    sch.bind(blocks, "blockIdx.x")


RULES = (
    Rule("cuda.multiply", "hand", multiply),
    Rule("cuda.one_thread_each", "portable", _one_thread_each),
)
"""In order; the last fits every kernel."""
