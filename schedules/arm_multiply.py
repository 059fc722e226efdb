"""Multiplies floats for a tile of pixels on 64-bit ARM processors that execute in order.

LLVM's order of instructions waits for every load. Here the weights of up to four steps of the
reduction come by one load, which leaves time for multiplications, and those of the next vector come
while the first ones multiply. Only pixels are waited for, all of a period at once: four steps, or a
row of a window whose pixels are neighbours. The first weights of a period come before them, so that
its multiplications begin as soon as the last pixel is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from .arm_code import PIXEL, WEIGHT, Address, Code
from .arm_order import Operation, in_order
from .arm_run import LANES, Run
from .steps import largest_divisor

_REGISTERS = 32
# Registers that one load fills with weights.
_AT_ONCE = 4
MOST_STEPS = 16
"""Steps that are worth their code."""

_BYTES, _REGISTER_BYTES = 4, 16
# How far from an address a load reaches, in bytes: by whole registers, or by any.
_REACH, _SHORT_REACH = 1 << 16, 1 << 8
# Cycles of LLVM's model of a Cortex-A53.
_LOAD_LATENCY, _WEIGHTS_LATENCY, _INTEGER_LATENCY, _MULTIPLY_LATENCY = 4, 7, 3, 10
# There no load ends before what began earlier, so that multiplications wait so many cycles for
# pixels, beside one for each load, for weights that come beside them, for a branch, and for LLVM's
# instructions around a run, beside one for each address.
_WAIT_FOR_PIXELS, _WAIT_FOR_WEIGHTS, _WAIT_FOR_BRANCH, _WAIT_FOR_RUN = 6, 2, 3, 10
_AHEAD = "x17"


@dataclass(frozen=True)
class Plan:
    """How a run is written: as a loop of turns, each of some periods.

    Attributes
    ----------
    turns : int
    forward : int
        Bytes from the data of one turn to that of the next.
    places : tuple of int
        For each step of a turn, the floats of the data before it.
    groups : tuple of tuple of int
        Steps of a period whose weights are loaded at once.
    periods : tuple of tuple of int
        For each period of a turn, the places of the data from which registers are loaded.
    cycles : float
        Estimate for a multiplication.
    """

    turns: int
    forward: int
    places: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]
    periods: tuple[tuple[int, ...], ...]
    cycles: float

    @property
    def steps(self) -> int:
        """Count the steps of a period."""
        return sum(len(group) for group in self.groups)


def plan_run(run: Run) -> Plan | None:
    """Divide a run into turns and periods; None if registers or the reach of loads end."""
    plans = []
    for turns, forward, places in _divide_turns(run):
        lengths = {len(places), largest_divisor(len(places), _AT_ONCE)}
        lengths |= {run.steps.extent} if len(places) % run.steps.extent == 0 else set()
        plans += [_plan(run, turns, forward, places, length) for length in sorted(lengths)]
    return min((plan for plan in plans if plan), key=lambda plan: plan.cycles, default=None)


def _divide_turns(run: Run) -> list[tuple[int, int, tuple[int, ...]]]:
    """Divide a run into turns of some rows or of some steps; say where steps of a turn are."""
    steps, along, down = run.steps.extent, run.distance(run.steps), run.distance(run.rows)
    if steps > MOST_STEPS:
        whole = largest_divisor(max(steps // _AT_ONCE, 1), MOST_STEPS // _AT_ONCE) * _AT_ONCE
        length = whole if steps % _AT_ONCE == 0 else largest_divisor(steps, MOST_STEPS)
        return [(steps // length, length * along, tuple(along * step for step in range(length)))]
    divided = []
    for rows in sorted({1, largest_divisor(run.rows.extent, MOST_STEPS // steps)}):
        places = tuple(down * row + along * step for row in range(rows) for step in range(steps))
        divided.append((run.rows.extent // rows, rows * down, places))
    return divided


def _plan(run: Run, turns: int, forward: int, places: tuple[int, ...], length: int) -> Plan | None:
    """Plan periods of a length; None if registers or the reach of loads end."""
    every, sums = run.distance(run.pixels), run.sums.count
    periods = []
    for first in range(0, len(places), length):
        steps = places[first : first + length]
        read = {place + pixel * every for place in steps for pixel in range(run.pixels.extent)}
        periods.append(tuple(_find_loads(sorted(read))))
    room = _REGISTERS - sums - _AT_ONCE * run.vectors
    if not all(_is_loadable(loads, room) for loads in periods):
        return None
    groups = _divide(length)
    waits = _count_waits(run, turns, len(groups), list(map(len, periods)))
    cycles = max(1.0, _MULTIPLY_LATENCY / sums) + waits / (sums * len(places))
    return Plan(turns, _BYTES * forward, places, groups, tuple(periods), cycles)


def _count_waits(run: Run, turns: int, groups: int, loads: Sequence[int]) -> float:
    """Estimate the cycles of a turn in which nothing is multiplied.

    Parameters
    ----------
    run : Run
    turns : int
    groups : int
        Of a period.
    loads : sequence of int
        Of pixels, in each period.
    """
    weights = run.vectors * groups
    late = _WEIGHTS_LATENCY * (groups - 1)
    if run.vectors > 1:
        late = max(_WEIGHTS_LATENCY - run.pixels.extent, 0) * (weights - groups)
    wait = _WAIT_FOR_PIXELS + late + _WAIT_FOR_WEIGHTS * max(weights - 2, 0)
    branch = _WAIT_FOR_BRANCH if turns > 1 else 0
    around = (_WAIT_FOR_RUN + weights) / turns
    return around + branch + sum(wait + max(count, weights) for count in loads)


def _divide(steps: int) -> tuple[tuple[int, ...], ...]:
    """Divide steps into groups as even as they can be."""
    count = -(-steps // _AT_ONCE)
    ends = [steps * (i + 1) // count for i in range(count)]
    return tuple(tuple(range(first, end)) for first, end in zip([0, *ends], ends, strict=False))


def _find_loads(places: Sequence[int]) -> list[int]:
    """Cover places of the data by registers, none of which reaches past the last place."""
    loads: list[int] = []
    for place in places:
        if not loads or place >= loads[-1] + LANES:
            loads.append(min(place, places[-1] - LANES + 1))
    return loads


def _is_loadable(loads: Sequence[int], room: int) -> bool:
    reached = all(
        place >= 0 and _BYTES * place < (_SHORT_REACH if place % LANES else _REACH)
        for place in loads
    )
    return reached and len(loads) <= room


class _Writer:
    """Writes the lines of a run."""

    def __init__(self, run: Run, plan: Plan):
        self._run, self._plan = run, plan
        sums = run.sums.count
        self._groups = range(len(plan.groups))
        self._pixel = f"${sums}"
        self._weights = {
            (vector, group): f"${sums + 1 + vector * len(plan.groups) + group}"
            for vector in range(run.vectors)
            for group in self._groups
        }
        fixed = 2 * (sums + 1 + len(self._weights))
        self._last, self._forward = f"${fixed}", f"${fixed + 1}"

    def lines(self) -> list[str]:
        """Write a whole run."""
        plan = self._plan
        body = [line for number in range(len(plan.periods)) for line in self._period(number)]
        if plan.turns == 1:
            return [self._load_weights(0, 0), *body]
        label = ".Lrun_${:uid}"
        return [self._load_weights(0, 0), f"{label}:", *body, f"b.ne {label}"]

    def _period(self, number: int) -> list[str]:
        plan = self._plan
        is_last = number == len(plan.periods) - 1
        lines = in_order([*self._load_pixels(number), *self._move(is_last)], {})
        for group in self._groups:
            lines += self._multiply(number, group)
        return lines if is_last and plan.turns == 1 else [*lines, self._load_weights(0, 0)]

    def _move(self, is_last: bool) -> list[Operation]:
        """Move addresses of weights to this period, that of the first ones already to the next.

        After the last turn it stays where it is: nothing may be read past the weights.
        """
        first, *others = self._weights.values()
        forward = f"#{_REGISTER_BYTES * self._plan.steps}"
        moved = [_integer(f"add {address}, {address}, {forward}", address) for address in others]
        if not is_last:
            return [*moved, _integer(f"add {first}, {first}, {forward}", first)]
        if self._plan.turns == 1:
            return moved
        return [
            _integer(f"cmp {self._pixel}, {self._last}", "flags", self._pixel),
            _integer(f"add {_AHEAD}, {first}, {forward}", _AHEAD, first),
            *moved,
            _integer(f"csel {first}, {_AHEAD}, {first}, ne", first, _AHEAD, "flags"),
            _integer(f"add {self._pixel}, {self._pixel}, {self._forward}", self._pixel),
        ]

    def _load_pixels(self, number: int) -> list[Operation]:
        operations = []
        for index, place in enumerate(self._plan.periods[number]):
            load = "ldur" if place % LANES else "ldr"
            text = f"{load} q{self._pixel_register(index)}, [{self._pixel}, #{_BYTES * place}]"
            reads, writes = (self._pixel,), (f"pixel{index}",)
            operations.append(Operation(text, reads, writes, _LOAD_LATENCY, "memory"))
        return operations

    def _pixel_register(self, index: int) -> int:
        return _AT_ONCE * self._run.vectors + index

    def _load_weights(self, vector: int, group: int) -> str:
        first, count = _AT_ONCE * vector, len(self._plan.groups[group])
        registers = ", ".join(f"v{first + i}.4s" for i in range(count))
        return f"ld1 {{{registers}}}, [{self._weights[vector, group]}]"

    def _multiply(self, number: int, group: int) -> list[str]:
        """Multiply all pixels and vectors step by step; load weights as early as they have room."""
        lines = []
        steps, vectors = self._plan.groups[group], self._run.vectors
        for step in steps:
            for vector in range(vectors):
                if step == steps[0] and vector + 1 < vectors:
                    lines.append(self._load_weights(vector + 1, group))
                weight = _AT_ONCE * vector + step - steps[0]
                lines += self._multiply_pixels(number, step, vector, weight)
                if step == steps[-1] and vector == 0 and group + 1 in self._groups:
                    lines.append(self._load_weights(0, group + 1))
        return lines

    def _multiply_pixels(self, number: int, step: int, vector: int, weight: int) -> list[str]:
        run, loads = self._run, self._plan.periods[number]
        lines = []
        for pixel in range(run.pixels.extent):
            place = self._plan.places[number * self._plan.steps + step]
            place += pixel * run.distance(run.pixels)
            index = next(i for i, first in enumerate(loads) if first <= place < first + LANES)
            source = f"v{self._pixel_register(index)}.s[{place - loads[index]}]"
            total = f"${pixel * run.vectors + vector}"
            lines.append(f"fmla {total}.4s, v{weight}.4s, {source}")
        return lines

    def addresses(self) -> tuple[Address, ...]:
        """List where weights of vectors and groups are, all but the first a period ahead."""
        plan = self._plan
        last = Address("last", PIXEL, (plan.turns - 1) * plan.forward)
        starts = [0, *accumulate(map(len, plan.groups))]
        weights = [
            Address(
                f"{WEIGHT}{vector}_{group}",
                WEIGHT,
                _BYTES * self._run.weight_strides[0] * vector
                + _REGISTER_BYTES
                * (starts[group] - (plan.steps if (vector, group) != (0, 0) else 0)),
            )
            for vector, group in self._weights
        ]
        return (last, *weights)

    def code(self) -> Code:
        """Write the run and say what its operands are."""
        plan, addresses = self._plan, self.addresses()
        _, *weights = addresses
        loads = max(map(len, plan.periods))
        return Code(
            lines=tuple(self.lines()),
            sums=self._run.sums,
            keeps_sums=True,
            addresses=addresses,
            moved=(f"ptr %{PIXEL}", *(f"ptr %{weight.name}" for weight in weights)),
            operands=("ptr %last", f"i64 {plan.forward}") if plan.turns > 1 else (),
            overwritten=(
                *(f"v{register}" for register in range(self._pixel_register(loads))),
                _AHEAD,
                "cc",
            ),
        )


def _integer(text: str, writes: str, *reads: str) -> Operation:
    return Operation(text, (writes, *reads), (writes,), _INTEGER_LATENCY, "integer")


def write_run(run: Run, plan: Plan) -> Code:
    """Write a run as planned in the assembly of 64-bit ARM."""
    return _Writer(run, plan).code()
