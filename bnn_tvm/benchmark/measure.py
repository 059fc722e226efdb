"""Time several calls in turn, so that what disturbs one disturbs all.

Ratios between calls that are timed round by round in the same process travel between
machines and load; absolute times do not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

Call = Callable[[], object]
Clock = Callable[[], float]


@runtime_checkable
class TimesItself(Protocol):
    """A call that a device times by its own clock."""

    def seconds(self, calls: int) -> float:
        """Measure so many calls, one behind the other."""


@dataclass(frozen=True)
class Spread:
    """Order statistics of samples; seconds, or a ratio without unit."""

    median: float
    lower_quartile: float
    upper_quartile: float
    minimum: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Spread:
        """Summarise at least one sample; quartiles interpolate between samples."""
        values = sorted(samples)
        if len(values) == 1:
            return cls(*values * 4)
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, lower, upper, values[0])


@dataclass(frozen=True)
class Timing:
    """Samples of one call.

    Attributes
    ----------
    samples : tuple of float
        Seconds of one call, each averaged over `inner` calls, in the order of rounds.
    inner : int
        Calls in one sample.
    """

    samples: tuple[float, ...]
    inner: int

    @property
    def spread(self) -> Spread:
        """Order statistics of the samples, in seconds."""
        return Spread.of(self.samples)

    def ratio_to(self, other: Timing) -> Spread:
        """Divide each sample by the one that `other` took in the same round."""
        return Spread.of(a / b for a, b in zip(self.samples, other.samples, strict=True))


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes
    ----------
    rounds : int
        Samples of each call.
    warm_up : int
        Calls before anything is timed.
    sample_seconds : float
        A sample repeats its call until it lasts about this long.
    lead_seconds : float
        Before each sample its call is repeated for about so long without being timed: long and
        short calls alike get time to bring back to the caches what the others of the round drove
        out, and the processor's clock to what they have it run at.
    clock_seconds : float
        A call that times itself is first repeated for so long, which raises the clock of a device
        that was idle.
    """

    rounds: int = 30
    warm_up: int = 3
    sample_seconds: float = 1e-3
    lead_seconds: float = 0.0
    clock_seconds: float = 0.5


def measure_in_turn(
    calls: Mapping[str, Call], plan: Plan, clock: Clock = time.perf_counter
) -> dict[str, Timing]:
    """Time each call once a round, each round starting with another call.

    Parameters
    ----------
    calls : mapping from label to callable
    plan : Plan
    clock : callable, optional
        Seconds from any origin.

    Returns
    -------
    dict of str to Timing
        With the same labels in the same order.
    """
    inner = {label: _calibrate(call, plan, clock) for label, call in calls.items()}
    samples: dict[str, list[float]] = {label: [] for label in calls}
    for labels in _rotations(list(calls), plan.rounds):
        for label in labels:
            _lead(calls[label], plan.lead_seconds, clock)
            samples[label].append(_sample(calls[label], inner[label], clock) / inner[label])
    return {label: Timing(tuple(samples[label]), inner[label]) for label in calls}


def _lead(call: Call, seconds: float, clock: Clock) -> None:
    """Repeat a call until so much time has passed."""
    start = clock()
    while clock() - start < seconds:
        call()


def _rotations(labels: list[str], rounds: int) -> Iterable[list[str]]:
    for turn in range(rounds):
        start = turn % len(labels)
        yield labels[start:] + labels[:start]


def _calibrate(call: Call, plan: Plan, clock: Clock) -> int:
    """Warm up, then double the inner loop until a sample is long enough."""
    if isinstance(call, TimesItself):
        _raise_clock(call, plan.clock_seconds)
    for _ in range(plan.warm_up):
        call()
    inner = 1
    while _sample(call, inner, clock) < plan.sample_seconds:
        inner *= 2
    return inner


def _raise_clock(call: TimesItself, seconds: float) -> None:
    """Keep a device busy until its clock is up."""
    calls, spent = 1, 0.0
    while spent < seconds:
        spent += call.seconds(calls)
        calls *= 2


def _sample(call: Call, inner: int, clock: Clock) -> float:
    if isinstance(call, TimesItself):
        return call.seconds(inner)
    start = clock()
    for _ in range(inner):
        call()
    return clock() - start
