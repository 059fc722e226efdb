"""Plan where each block of a program lies in one arena."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .program import Program, Step

# Kernels use aligned vector loads and stores of up to this many bytes.
ALIGNMENT = 64


@dataclass(frozen=True)
class Arena:
    """Offsets into one piece of memory.

    Attributes
    ----------
    size : int
        Bytes, a multiple of `ALIGNMENT`.
    offsets : mapping of str to int
        First byte of each block, a multiple of `ALIGNMENT`.
    """

    size: int
    offsets: Mapping[str, int]


@dataclass(frozen=True)
class _Life:
    """A block and the steps from the first to the last at which it must be kept."""

    name: str
    size: int
    first: int
    last: int


def plan_arena(program: Program, workspaces: Mapping[str, int]) -> Arena:
    """Place blocks so that those which live at the same time do not overlap.

    Large blocks are placed first, each at the lowest offset that is free while it lives.

    Parameters
    ----------
    program : Program
    workspaces : mapping of str to int
        Bytes of scratch memory that each kernel needs while it runs.

    Returns
    -------
    Arena
        With the workspace of step i under the name that `workspace_name` gives.
    """
    lives = [*_block_lives(program), *_workspace_lives(program.steps, workspaces)]
    placed: list[tuple[int, _Life]] = []
    for life in sorted(lives, key=lambda life: (-life.size, life.first, life.name)):
        placed.append((_lowest_free(life, placed), life))
    size = max((offset + life.size for offset, life in placed), default=0)
    return Arena(size, {life.name: offset for offset, life in placed})


def workspace_name(step: int) -> str:
    """Name the scratch memory of a step; no block has such a name."""
    return f"workspace of step {step}"


def _block_lives(program: Program) -> Iterable[_Life]:
    """Say from which step to which each block lives; outputs until after the last."""
    first = dict.fromkeys(program.inputs, -1)
    last = dict(first)
    for index, step in enumerate(program.steps):
        first = dict.fromkeys(step.writes, index) | first
        last.update(dict.fromkeys((*step.reads, *step.writes), index))
    last.update(dict.fromkeys(program.outputs, len(program.steps)))
    return [
        _Life(name, round_up(size), first[name], last[name])
        for name, size in program.blocks.items()
    ]


def _workspace_lives(steps: Sequence[Step], sizes: Mapping[str, int]) -> Iterable[_Life]:
    for index, step in enumerate(steps):
        if size := sizes[step.kernel]:
            yield _Life(workspace_name(index), round_up(size), index, index)


def _lowest_free(life: _Life, placed: Sequence[tuple[int, _Life]]) -> int:
    """Find the lowest offset at which a block overlaps none that lives at the same time."""
    offset = 0
    for start, other in sorted(placed, key=lambda pair: pair[0]):
        together = life.first <= other.last and other.first <= life.last
        if together and offset < start + other.size and start < offset + life.size:
            offset = start + other.size
    return offset


def round_up(size: int) -> int:
    """Round up to a multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT
