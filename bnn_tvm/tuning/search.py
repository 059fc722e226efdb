"""Choose which schedules of a kernel to measure next."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice

from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule import _ffi_api

from ..schedules.choices import Choices, walk
from ..target import Target
from .journal import Measurement
from .measuring import Outcome
from .tasks import Task

# Rules list the likely choices first: what comes after so many is not worth making schedules of.
_MOST_POINTS = 400
# Schedules measured before the cost model is asked.
_WARM_UP = 8
# The share of a batch that is drawn at random, so that the model sees what it thinks little of.
_RANDOM_SHARE = 0.25


class CostModel:
    """MetaSchedule's xgboost model of how fast schedules are; all kernels teach it."""

    def __init__(self, target: Target):
        self._target = target.to_tvm()
        config = ms.cost_model.xgb_model.XGBConfig(nthread=1)
        self._model = ms.cost_model.XGBModel(config=config, num_warmup_samples=_WARM_UP)

    def learn(self, task: Task, schedules: Sequence[Schedule], outcomes: Sequence[Outcome]) -> None:
        """Learn from measured schedules of a kernel."""
        results = [
            ms.runner.RunnerResult([min(o.seconds)] if o.seconds else None, o.error or None)
            for o in outcomes
        ]
        self._model.update(self._context(task), _candidates(schedules), results)

    def score(self, task: Task, schedules: Sequence[Schedule]) -> list[float]:
        """Predict for each schedule how fast it is, relative to others of the kernel."""
        return [float(s) for s in self._model.predict(self._context(task), _candidates(schedules))]

    def _context(self, task: Task) -> ms.TuneContext:
        """Make the context that features are extracted in.

        Through TVM's C++ constructor: the Python one imports every tensor intrinsic of TVM first,
        which takes 17 s.
        """
        mod = IRModule({"main": task.func})
        return _ffi_api.TuneContext(mod, self._target, None, None, "", 1, 1, None)


def _candidates(schedules: Sequence[Schedule]) -> list[ms.MeasureCandidate]:
    arguments = ms.arg_info.ArgInfo.from_entry_func(schedules[0].mod)
    return [ms.MeasureCandidate(schedule, arguments) for schedule in schedules]


class Search:
    """The search space of one kernel, and what is known of it.

    Parameters
    ----------
    task : Task
    target : Target
    known : sequence of Measurement
        Those that were made before, of any kernel and rule.

    Attributes
    ----------
    task : Task
    known : list of Measurement
        Of this space.
    """

    def __init__(self, task: Task, target: Target, known: Sequence[Measurement]):
        self.task = task
        points = walk(lambda choose: task.rule.apply(task.func, target, choose))
        self._schedules = {_key(c): (c, sch) for c, sch in islice(points, _MOST_POINTS)}
        self.known = [item for item in known if self._has(item)]

    def _has(self, item: Measurement) -> bool:
        mine = (item.kernel, item.rule) == (self.task.signature, self.task.rule.name)
        return mine and _key(item.choices) in self._schedules

    @property
    def points(self) -> list[dict[str, str]]:
        """The choices of every schedule of the space, those by hand first."""
        return [choices for choices, _ in self._schedules.values()]

    @property
    def by_hand(self) -> dict[str, str]:
        """What the rule chooses by hand."""
        return self.points[0]

    @property
    def best_seconds(self) -> float:
        """Time of the fastest schedule so far; infinite before there is one."""
        return min((_time(item) for item in self.known), default=float("inf"))

    def schedule(self, choices: Choices) -> Schedule:
        """Return the schedule of a point."""
        return self._schedules[_key(choices)][1]

    def next_points(self, model: CostModel, count: int) -> list[dict[str, str]]:
        """Choose what to measure next: the hand schedule, then what the model likes, and others."""
        seen = {_key(item.choices) for item in self.known}
        fresh = {key: point for key, point in self._schedules.items() if key not in seen}
        draw = random.Random(f"{self.task.signature} {len(seen)}")
        keys = list(fresh)
        if not seen:
            first, *keys = keys
            picked = [first, *draw.sample(keys, min(count - 1, len(keys)))]
        else:
            scores = model.score(self.task, [sch for _, sch in fresh.values()])
            ranked = [key for _, key in sorted(zip(scores, keys, strict=True), reverse=True)]
            liked = ranked[: count - int(count * _RANDOM_SHARE)]
            rest = ranked[len(liked) :]
            picked = [*liked, *draw.sample(rest, min(count - len(liked), len(rest)))]
        return [fresh[key][0] for key in picked]

    def fastest(self, count: int) -> list[dict[str, str]]:
        """List the fastest points so far, best first."""
        ranked = sorted((item for item in self.known if item.seconds), key=_time)
        return [item.choices for item in ranked[:count]]


def _key(choices: Choices) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(choices.items()))


def _time(item: Measurement) -> float:
    """Take the shortest sample: what disturbs a measurement makes it longer."""
    return min(item.seconds, default=float("inf"))
