"""The outputs of a kernel: numbers, packed signs, or both."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.s_tir import Schedule
from tvm.s_tir.schedule import SBlockRV

from bnn_tvm.kernels.stages import ACCUMULATE, PACK, RESULT, VALUE

from .steps import extent, find_block, spatial_extents


@dataclass(frozen=True)
class Outputs:
    """Blocks that write the outputs of a kernel.

    Attributes
    ----------
    result : SBlockRV or None
        Writes numbers.
    value, pack : SBlockRV or None
        Computes what signs are taken of, and packs them.
    group : int
        Channels that a word holds; 1 if nothing is packed.
    together : bool
        Whether numbers and words can be written in one pass: channels fill whole words.
    """

    result: SBlockRV | None
    value: SBlockRV | None
    pack: SBlockRV | None
    group: int
    together: bool

    @property
    def main(self) -> SBlockRV:
        """The output whose loops the others follow: the numbers, if there are any."""
        block = self.pack if self.result is None else self.result
        assert block is not None
        return block

    @property
    def channels_per_element(self) -> int:
        """Channels that one element of the main output stands for."""
        return self.group if self.result is None else 1


def find_outputs(sch: Schedule) -> Outputs | None:
    """Find the outputs of a kernel; None if they cannot be computed together.

    That is when the signs are not those of the numbers, and when there is more than one output of
    a kind.
    """
    result, value, pack = (find_block(sch, name) for name in (RESULT, VALUE, PACK))
    count = sum(block is not None for block in (result, pack))
    if count != len(sch.get_output_blocks(sch.get_sblock("root"))):
        return None
    group = 1 if pack is None else extent(sch, sch.get_loops(pack)[-1])
    together = True
    if result is not None and value is not None:
        producers = [sch.get(block).name_hint for block in sch.get_producers(value)]
        if ACCUMULATE in producers:
            return None
        together = spatial_extents(sch, result)[-1] == spatial_extents(sch, value)[-1]
    return Outputs(result, value, pack, group, together)
