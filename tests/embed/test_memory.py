"""The arena: nothing that lives at the same time overlaps, and nothing is wasted needlessly."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_tvm.embed.memory import ALIGNMENT, plan_arena, round_up, workspace_name
from bnn_tvm.embed.program import Program, Step


def chain(*sizes: int) -> Program:
    """Each step reads the block before it."""
    names = [f"b{i}" for i in range(len(sizes))]
    steps = [
        Step(f"k{i}", (before,), (after,))
        for i, (before, after) in enumerate(itertools.pairwise(names))
    ]
    sizes_by_name = dict(zip(names, sizes, strict=True))
    return Program((names[0],), (names[-1],), sizes_by_name, {}, tuple(steps))


def lives(program: Program) -> dict[str, set[int]]:
    """The steps while which each block must be kept, found one step at a time."""
    found: dict[str, set[int]] = {}
    for name in program.blocks:
        writers = [i for i, s in enumerate(program.steps) if name in s.writes] or [-1]
        readers = [i for i, s in enumerate(program.steps) if name in s.reads]
        end = len(program.steps) if name in program.outputs else max([*readers, *writers])
        found[name] = set(range(min(writers), end + 1))
    return found


@st.composite
def programs(draw) -> tuple[Program, dict[str, int]]:
    count = draw(st.integers(1, 8))
    sizes = st.integers(1, 500)
    blocks, steps = {"in": draw(sizes)}, []
    for i in range(count):
        reads = draw(st.lists(st.sampled_from(sorted(blocks)), min_size=1, max_size=3))
        computed = sorted(blocks.keys() - {"in", *reads})
        in_place = draw(st.lists(st.sampled_from(computed), max_size=1)) if computed else []
        new = [f"s{i}_{j}" for j in range(draw(st.integers(1, 2)))]
        blocks |= {name: draw(sizes) for name in new}
        steps.append(Step(f"k{i}", tuple(reads), (*in_place, *new)))
    outputs = draw(st.lists(st.sampled_from(sorted(blocks)), min_size=1, max_size=2))
    workspaces = {step.kernel: draw(st.integers(0, 300)) for step in steps}
    return Program(("in",), tuple(outputs), blocks, {}, tuple(steps)), workspaces


@settings(max_examples=150, deadline=None)
@given(programs())
def test_what_lives_together_lies_apart(drawn):
    program, workspaces = drawn
    arena = plan_arena(program, workspaces)
    alive, sizes = lives(program), dict(program.blocks)
    for index, step in enumerate(program.steps):
        if workspaces[step.kernel]:
            alive[workspace_name(index)] = {index}
            sizes[workspace_name(index)] = workspaces[step.kernel]
    assert set(arena.offsets) == set(sizes)
    for one in sizes:
        assert arena.offsets[one] % ALIGNMENT == 0
        assert arena.offsets[one] + sizes[one] <= arena.size
        for other in sizes:
            if one < other and alive[one] & alive[other]:
                first, second = sorted((one, other), key=arena.offsets.__getitem__)
                assert arena.offsets[first] + sizes[first] <= arena.offsets[second]


def test_a_chain_needs_its_largest_neighbours():
    program = chain(64, 640, 128, 640, 64)
    arena = plan_arena(program, {step.kernel: 0 for step in program.steps})
    assert arena.size == 640 + 128


def test_scratch_memory_is_shared_by_steps():
    program = chain(64, 64, 64)
    assert plan_arena(program, {"k0": 1000, "k1": 900}).size == 128 + round_up(1000)
