"""The order of instructions for processors that execute them as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One instruction on named values.

    Attributes
    ----------
    text : str
        The instruction, with the names of values that need registers in braces, such as
        ``cnt v{bits}.16b, v{bits}.16b``.
    reads, writes : tuple of str
        Names of values; a value that is written again changes in place.
    latency : int
        Cycles before what it writes can be read.
    unit : str
        What executes it; each unit starts one operation a cycle.
    """

    text: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    latency: int
    unit: str


def in_order(operations: Sequence[Operation], pools: Mapping[str, Sequence[object]]) -> list[str]:
    """Order operations so that they seldom wait for each other, and give their values registers.

    In each cycle, each unit starts the first operation whose operands are there and whose results
    have registers, which are given out in order. So values do not pile up.

    Parameters
    ----------
    operations : sequence of Operation
        In an order that is right; in which they run with the registers of the pools.
    pools : mapping of str to sequence
        The registers for values whose names start with a text. What other names stand for is in
        the text of operations.

    Returns
    -------
    list of str
        The instructions.

    Raises
    ------
    ValueError
        If in the order given they need more registers.
    """
    waiting = list(range(len(operations)))
    needs = _dependencies(operations)
    registers = _Registers(operations, pools)
    started: dict[int, int] = {}
    lines = []
    cycle, longest = 0, max(operation.latency for operation in operations)
    while waiting:
        busy: set[str] = set()
        starved: set[str] = set()
        for index in waiting.copy():
            operation = operations[index]
            ready = all(
                before in started and started[before] + delay <= cycle
                for before, delay in needs[index].items()
            )
            # Registers go to what is in front, or else it might never get one.
            pool = registers.pool_of_new(operation)
            has_room = pool not in starved and registers.has_room(operation)
            if ready and operation.unit not in busy and has_room:
                busy.add(operation.unit)
                waiting.remove(index)
                started[index] = cycle
                lines.append(registers.place(operation))
            elif pool:
                starved.add(pool)
        if waiting and cycle > max(started.values(), default=0) + longest:
            raise ValueError(f"{operations[waiting[0]].text} finds no register")
        cycle += 1
    return lines


def _dependencies(operations: Sequence[Operation]) -> list[dict[int, int]]:
    """List for each operation those that go first, and how many cycles before it."""
    needs: list[dict[int, int]] = []
    writer: dict[str, int] = {}
    readers: dict[str, list[int]] = {}
    for index, operation in enumerate(operations):
        before = {reader: 0 for name in operation.writes for reader in readers.get(name, [])}
        for name in (*operation.reads, *operation.writes):
            if name in writer:
                before[writer[name]] = operations[writer[name]].latency
        needs.append({other: delay for other, delay in before.items() if other != index})
        for name in operation.reads:
            readers.setdefault(name, []).append(index)
        for name in operation.writes:
            writer[name] = index
            readers[name] = []
    return needs


class _Registers:
    """Gives values registers while they are in use."""

    def __init__(self, operations: Sequence[Operation], pools: Mapping[str, Sequence[object]]):
        self._free = {prefix: list(registers) for prefix, registers in pools.items()}
        self._places: dict[str, object] = {}
        self._uses: dict[str, int] = {}
        for operation in operations:
            for name in self._values(operation):
                self._uses[name] = self._uses.get(name, 0) + 1

    def _pool(self, name: str) -> list[object]:
        return next(free for prefix, free in self._free.items() if name.startswith(prefix))

    def _values(self, operation: Operation) -> set[str]:
        names = {*operation.reads, *operation.writes}
        return {name for name in names if name.startswith(tuple(self._free))}

    def _new(self, operation: Operation) -> list[str]:
        return [name for name in sorted(self._values(operation)) if name not in self._places]

    def pool_of_new(self, operation: Operation) -> str:
        """Name the pool that an operation takes registers from; '' if none."""
        new = self._new(operation)
        return next((pool for pool in self._free if new and new[0].startswith(pool)), "")

    def has_room(self, operation: Operation) -> bool:
        """Tell whether there are registers for what an operation writes first."""
        new = self._new(operation)
        return not new or len(self._pool(new[0])) >= len(new)

    def place(self, operation: Operation) -> str:
        """Write the registers of an operation into its text; free those that it used last."""
        for name in self._new(operation):
            self._places[name] = self._pool(name).pop(0)
        line = operation.text.format_map(self._places)
        for name in self._values(operation):
            self._uses[name] -= 1
            if not self._uses[name]:
                self._pool(name).append(self._places.pop(name))
        return line
