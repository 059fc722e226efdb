"""Tune the kernels of a model: divide the trials among them, measure, keep the best."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InternalError, TuneLogError
from ..target import Target
from .environment import TuningEnvironment
from .journal import JOURNAL_FILE, Journal, Measurement
from .limits import measure_peak
from .measuring import Measure, Outcome
from .records import (
    ENVIRONMENT_FILE,
    BestSchedule,
    read_environment,
    write_best,
    write_environment,
)
from .search import CostModel, Search
from .tasks import Task

# Schedules measured between two looks at the cost model.
_BATCH = 8
# Samples of a schedule in the search, and in the comparison of the fastest at the end.
_SEARCH_SAMPLES, _FINAL_SAMPLES = 3, 15
_FINALISTS = 5
# What a schedule must gain on the hand choice to be worth a record: less is noise.
_LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Status:
    """How far one kernel is.

    Attributes
    ----------
    task : Task
    measured, size : int
        Schedules that were measured, and that there are.
    seconds : float
        Of one call of the fastest schedule so far.
    limit : float
        Seconds that its multiply-accumulates would take at the machine's peak.
    """

    task: Task
    measured: int
    size: int
    seconds: float
    limit: float


@dataclass(frozen=True)
class Result:
    """What was found for one kernel.

    Attributes
    ----------
    status : Status
        At the end; its seconds are those of the search.
    best : BestSchedule
    """

    status: Status
    best: BestSchedule


Show = Callable[[Status, int, int], None]
"""Called with a kernel's status, and how many trials of how many are done, after each batch."""


def open_folder(folder: Path, target: Target, now: TuningEnvironment, resume: bool) -> Journal:
    """Open the folder of a tuning log to measure into it.

    Raises
    ------
    TuneLogError
        If it has measurements and `resume` is not set, or those of another environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / ENVIRONMENT_FILE).exists():
        before = read_environment(folder, target)
        if differences := before.differences(now):
            raise TuneLogError(
                f"the tuning log {folder} was measured {'; '.join(differences)}; "
                "name another folder with --tune-log"
            )
        if not resume:
            raise TuneLogError(
                f"the tuning log {folder} exists; add to it with --resume, "
                "or name another folder with --tune-log"
            )
    elif (folder / JOURNAL_FILE).exists():
        raise TuneLogError(
            f"{folder / JOURNAL_FILE} has no {ENVIRONMENT_FILE} beside it; name another folder"
        )
    write_environment(folder, now)
    return Journal(folder)


def tune(
    tasks: Sequence[Task],
    target: Target,
    folder: Path,
    journal: Journal,
    trials: int,
    measure: Measure,
    show: Show,
) -> list[Result]:
    """Measure schedules of kernels, and write the best of each to ``best.json``.

    Parameters
    ----------
    tasks : sequence of Task
    target : Target
    folder : Path
        Of the tuning log.
    journal : Journal
        Of the same folder; what it has of these kernels counts as done.
    trials : int
        How many schedules to measure, of all kernels together.
    measure : callable
    show : callable

    Returns
    -------
    list of Result
        In the order of the tasks.
    """
    return _Job(tasks, target, journal, measure, show).run(trials, folder)


class _Job:
    def __init__(
        self,
        tasks: Sequence[Task],
        target: Target,
        journal: Journal,
        measure: Measure,
        show: Show,
    ):
        self._journal, self._measure, self._show = journal, measure, show
        self._model = CostModel(target)
        self._peaks = {
            binary: measure_peak(target, binary, measure)
            for binary in sorted({task.binary for task in tasks})
        }
        self._searches = [Search(task, target, journal.measurements) for task in tasks]
        for search in self._searches:
            self._teach(search, search.known)

    def run(self, trials: int, folder: Path) -> list[Result]:
        done = sum(len(search.known) for search in self._searches)
        total = min(max(trials, done), sum(len(search.points) for search in self._searches))
        while done < total:
            search = self._next()
            done += self._measure_batch(search, min(_BATCH, total - done))
            self._show(self._status(search), done, total)
        found = []
        for search in self._searches:
            best = self._decide(search)
            write_best(folder, best)
            found.append(Result(self._status(search), best))
        return found

    def _next(self) -> Search:
        """Choose the kernel in which the network spends most time for each schedule measured."""
        open_ones = [search for search in self._searches if len(search.known) < len(search.points)]
        return max(open_ones, key=self._worth)

    @staticmethod
    def _worth(search: Search) -> float:
        if not search.known:
            return float("inf")
        return search.task.uses * search.best_seconds / len(search.known)

    def _measure_batch(self, search: Search, count: int) -> int:
        points = search.next_points(self._model, count)
        outcomes = self._measure([search.schedule(p) for p in points], _SEARCH_SAMPLES)
        task = search.task
        items = [
            Measurement(task.signature, task.rule.name, point, outcome.seconds, outcome.error)
            for point, outcome in zip(points, outcomes, strict=True)
        ]
        self._journal.append(items)
        search.known.extend(items)
        self._teach(search, items)
        return len(items)

    def _teach(self, search: Search, items: Sequence[Measurement]) -> None:
        if items:
            schedules = [search.schedule(item.choices) for item in items]
            outcomes = [Outcome(item.seconds, item.error) for item in items]
            self._model.learn(search.task, schedules, outcomes)

    def _status(self, search: Search) -> Status:
        task = search.task
        limit = task.macs / self._peaks[task.binary]
        return Status(task, len(search.known), len(search.points), search.best_seconds, limit)

    def _decide(self, search: Search) -> BestSchedule:
        """Measure the fastest schedules and the one by hand again, in turn, and take the best.

        Times are compared round by round: a machine that is slow for a while is so for all.
        """
        others = [point for point in search.fastest(_FINALISTS) if point != search.by_hand]
        points = [search.by_hand, *others]
        outcomes = self._measure([search.schedule(p) for p in points], _FINAL_SAMPLES)
        if outcomes[0].error:
            raise InternalError(
                f"the hand schedule of {search.task.label} fails: {outcomes[0].error}"
            )
        by_hand, *times = [outcome.seconds for outcome in outcomes]
        shares = [
            statistics.median(map(operator.truediv, seconds, by_hand)) if seconds else math.inf
            for seconds in times
        ]
        best = min(range(len(others)), key=shares.__getitem__, default=None)
        usual = statistics.median(by_hand)
        if best is None or shares[best] > 1 - _LEAST_GAIN:
            return self._found(search, search.by_hand, usual, usual)
        return self._found(search, others[best], usual * shares[best], usual)

    def _found(
        self, search: Search, point: dict[str, str], seconds: float, by_hand: float
    ) -> BestSchedule:
        task = search.task
        return BestSchedule(
            task.signature, task.rule.name, point, seconds, by_hand, len(search.known)
        )
