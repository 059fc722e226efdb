"""Tuning jobs: trials divided, nothing measured twice, nothing lost when killed, the best kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import tvm_ffi
from bnn_tvm.schedules import schedule_kernel
from tuning_harness import HERE, TARGET, FakeMeasure, show_nothing, small_tasks

from bnn_tvm.errors import InternalError, TuneLogError
from bnn_tvm.tuning.jobs import open_folder, tune
from bnn_tvm.tuning.journal import JOURNAL_FILE, Journal
from bnn_tvm.tuning.measuring import Outcome
from bnn_tvm.tuning.records import ENVIRONMENT_FILE, find_log
from bnn_tvm.tuning.search import Search


@pytest.fixture(scope="module")
def tasks():
    return small_tasks()


def run(tasks, folder: Path, trials: int, measure, resume: bool = False):
    with open_folder(folder, TARGET, HERE, resume) as journal:
        return tune(tasks, TARGET, folder, journal, trials, measure, show_nothing)


def test_equal_kernels_are_one_task_weighted_by_use(tasks):
    assert [(task.uses, task.rule.name) for task in tasks] == [
        (2, "x86.register_tile"),
        (1, "x86.register_tile"),
    ]


def test_every_point_of_the_space_is_measured_once_and_the_fastest_is_kept(tasks, tmp_path):
    fake = FakeMeasure()
    results = run(tasks, tmp_path, 10000, fake)
    with Journal(tmp_path) as journal:
        points = Counter((m.kernel, tuple(sorted(m.choices.items()))) for m in journal.measurements)
    assert set(points.values()) == {1}
    assert len(points) == sum(len(Search(task, TARGET, []).points) for task in tasks)
    records = find_log(TARGET, tmp_path).records()
    for task, result in zip(tasks, results, strict=True):
        tuned = schedule_kernel(task.func, TARGET, records)
        assert tuned.source == "tuned"
        fastest = min(m.seconds[0] for m in journal.measurements if m.kernel == task.signature)
        assert result.best.seconds == pytest.approx(fastest, rel=1e-12)
        assert fastest <= result.best.seconds_by_hand


def test_a_machine_that_is_slow_for_a_while_does_not_decide(tasks, tmp_path):
    """The first choice takes 0.9 of the time by hand, the next one 1.1, which no median shows."""
    machine = (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0)
    rounds = {
        "hand": machine,
        "faster": tuple(0.9 * state for state in machine),
        # The machine was fast once more while this one ran.
        "slower": tuple(1.1 * state for state in (*machine[:3], 1.0, *machine[4:])),
    }

    def measure(schedules, samples):
        if samples < 15:
            return FakeMeasure()(schedules, samples)
        others = ["slower", "faster", *["hand"] * len(schedules)]
        return [Outcome(rounds[kind]) for kind in ["hand", *others][: len(schedules)]]

    (result, *_) = run(tasks[:1], tmp_path, 100, measure)
    assert result.best.seconds == pytest.approx(0.9 * result.best.seconds_by_hand)


def test_trials_are_a_limit_and_go_where_the_time_goes(tasks, tmp_path):
    run(tasks, tmp_path, 16, FakeMeasure())
    with Journal(tmp_path) as journal:
        kernels = Counter(m.kernel for m in journal.measurements)
    assert sum(kernels.values()) == 16 and len(kernels) == len(tasks)


def test_resuming_goes_on_where_it_stopped(tasks, tmp_path):
    run(tasks, tmp_path, 16, FakeMeasure())
    with pytest.raises(TuneLogError, match="--resume"):
        run(tasks, tmp_path, 24, FakeMeasure())
    before = (tmp_path / JOURNAL_FILE).read_bytes()
    run(tasks, tmp_path, 24, FakeMeasure(), resume=True)
    after = (tmp_path / JOURNAL_FILE).read_bytes()
    assert after.startswith(before) and after.count(b"\n") == 24
    run(tasks, tmp_path, 24, FakeMeasure(), resume=True)
    assert (tmp_path / JOURNAL_FILE).read_bytes() == after


def test_another_environment_is_not_added_to(tasks, tmp_path):
    open_folder(tmp_path, TARGET, HERE, False).__exit__(None, None, None)
    (tmp_path / ENVIRONMENT_FILE).write_text(
        (tmp_path / ENVIRONMENT_FILE).read_text().replace("a machine", "another")
    )
    with pytest.raises(TuneLogError, match="on another, not a machine"):
        open_folder(tmp_path, TARGET, HERE, True)


def test_a_journal_without_its_environment_is_refused(tmp_path):
    Journal(tmp_path).__exit__(None, None, None)
    with pytest.raises(TuneLogError, match=r"no environment.json"):
        open_folder(tmp_path, TARGET, HERE, True)


class HalfFail(FakeMeasure):
    """Lets every other schedule fail, but for one and for the kernel that measures the limit."""

    def __init__(self, spared: int):
        super().__init__()
        self.spared = spared

    def __call__(self, schedules, samples):
        outcomes = super().__call__(schedules, samples)
        codes = self.seen[-len(outcomes) :]
        return [
            Outcome((), "crashed") if code % 2 and code not in (self.spared, self.seen[0]) else good
            for code, good in zip(codes, outcomes, strict=True)
        ]


def test_schedules_that_fail_are_noted_and_not_tried_again(tasks, tmp_path):
    by_hand = Search(tasks[0], TARGET, [])
    hand_code = tvm_ffi.structural_hash(by_hand.schedule(by_hand.by_hand).mod)
    run(tasks[:1], tmp_path, 10000, HalfFail(hand_code))
    with Journal(tmp_path) as journal:
        failed = [m for m in journal.measurements if m.error]
    assert failed and all(m.seconds == () and m.error == "crashed" for m in failed)
    (best,) = find_log(TARGET, tmp_path).kernels
    assert best.choices not in [m.choices for m in failed]


def test_a_hand_schedule_that_fails_is_our_bug(tasks, tmp_path):
    class NoneRuns(FakeMeasure):
        def __call__(self, schedules, samples):
            outcomes = super().__call__(schedules, samples)
            return outcomes if len(self.seen) == 1 else [Outcome((), "dead")] * len(outcomes)

    with pytest.raises(InternalError, match="dead"):
        run(tasks[:1], tmp_path, 4, NoneRuns())


SLOW_JOB = """
import sys, time
from pathlib import Path
from tuning_harness import HERE, TARGET, FakeMeasure, show_nothing, small_tasks
from bnn_tvm.tuning.jobs import open_folder, tune

class SlowMeasure(FakeMeasure):
    def __call__(self, schedules, samples):
        time.sleep(0.3)
        return super().__call__(schedules, samples)

folder = Path(sys.argv[1])
with open_folder(folder, TARGET, HERE, False) as journal:
    tune(small_tasks(), TARGET, folder, journal, 10000, SlowMeasure(), show_nothing)
"""


def test_killed_in_the_middle_no_finished_measurement_is_lost(tasks, tmp_path):
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    process = subprocess.Popen([sys.executable, "-c", SLOW_JOB, str(tmp_path)], env=environment)
    journal = tmp_path / JOURNAL_FILE
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 8):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = journal.read_bytes()
    fake = FakeMeasure()
    run(tasks, tmp_path, 10000, fake, resume=True)
    after = journal.read_bytes()
    assert after.startswith(before[: before.rindex(b"\n") + 1])
    size = sum(len(Search(task, TARGET, []).points) for task in tasks)
    assert after.count(b"\n") == size
