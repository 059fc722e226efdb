"""Tell kernels apart by the work that they do, as text that outlives versions of the compiler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tvm import tirx
from tvm.s_tir import Schedule

from .stages import KERNEL


def kernel_signature(func: tirx.PrimFunc) -> str:
    """Describe a kernel by what decides how fast its schedules are.

    Kernels of equal signature have the same kind, operands and loops. They may differ in the
    arithmetic of their epilogue, in constants and in names.

    Parameters
    ----------
    func : PrimFunc
        One of ours, not scheduled yet.

    Returns
    -------
    str
        Such as ``bitserial_conv2d uint32[1,7,7,16] ... -> accumulate[1,7,7,32,16,3,3,16] ...``:
        the kind, its operands in call order, and its stages with the extents of their axes.
    """
    operands = [_tensor(param.dtype, param.shape) for param in func.params]
    return " ".join([str(func.attrs[KERNEL]), *operands, "->", *_stages(func)])


def _stages(func: tirx.PrimFunc) -> list[str]:
    sch = Schedule(func)
    blocks = [sch.get(block) for block in sch.get_child_blocks(sch.get_sblock("root"))]
    return [
        _tensor(block.name_hint, [var.dom.extent for var in block.iter_vars]) for block in blocks
    ]


def _tensor(name: Any, extents: Iterable[Any]) -> str:
    return f"{name}[{','.join(str(int(extent)) for extent in extents)}]"
