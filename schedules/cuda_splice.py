"""Take a stage out of a function while the others are scheduled, and put it back.

A stage can be moved below a loop only when all that reads it is there, and what reads it only when
all that it reads is there. Without the stage, the second of these is free.
"""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.s_tir import SBlock, SBlockRealize

from bnn_tvm.errors import InternalError


def cut_stage(func: tirx.PrimFunc, name: str) -> tuple[tirx.PrimFunc, tirx.Stmt]:
    """Remove the loops of a stage.

    Returns
    -------
    PrimFunc
        Reads what the stage wrote, which nothing writes.
    Stmt
        The loops of the stage.
    """
    stages = _stages(func)
    found = [stage for stage in stages if _holds(stage, name)]
    if len(found) != 1:
        raise InternalError(f"a kernel has {len(found)} stages {name!r}, not one")
    return _with_stages(func, [s for s in stages if not s.same_as(found[0])]), found[0]


def paste_stage(func: tirx.PrimFunc, stage: tirx.Stmt) -> tirx.PrimFunc:
    """Put the loops of a stage before all others."""
    return _with_stages(func, [stage, *_stages(func)])


def _stages(func: tirx.PrimFunc) -> list[tirx.Stmt]:
    body = func.body.block.body
    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _with_stages(func: tirx.PrimFunc, stages: list[tirx.Stmt]) -> tirx.PrimFunc:
    root = func.body.block
    body = tirx.SeqStmt(stages) if len(stages) > 1 else stages[0]
    block = SBlock(
        root.iter_vars, root.reads, root.writes, root.name_hint, body, root.init,
        root.alloc_buffers, root.match_buffers, root.annotations,
    )  # fmt: skip
    realize = SBlockRealize(func.body.iter_values, func.body.predicate, block)
    return func.with_body(realize)


def _holds(stmt: tirx.Stmt, name: str) -> bool:
    found: list[str] = []
    tvm_ffi.structural_walk(stmt, (SBlock, lambda block: found.append(str(block.name_hint))))
    return name in found
