"""What compilation makes of a tuning log: it follows what fits and says what does not."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import pytest

from bnn_tvm.compiler import prepare
from bnn_tvm.errors import TuneLogError, TuneLogWarning
from bnn_tvm.target import get_target
from bnn_tvm.tuning.environment import describe_environment
from bnn_tvm.tuning.records import BestSchedule, write_best, write_environment
from bnn_tvm.tuning.search import Search
from bnn_tvm.tuning.tasks import find_tasks

MODEL = Path(__file__).parents[2] / "examples/models/lenet-1bit-symbol.json"
TARGET = get_target("x86-64-vpopcntdq")
KERNEL = "bitserial_conv2d"


def compiled(**options):
    return prepare(MODEL, target=TARGET.id, input_shape=(1, 1, 28, 28), **options)


@pytest.fixture(scope="module")
def task():
    prepared = compiled()
    tasks = find_tasks(prepared.lowered, prepared.manifest.kernels, TARGET)
    return next(task for task in tasks if task.signature.startswith(KERNEL + " "))


def write_log(folder: Path, task, choices, environment=None) -> Path:
    write_environment(folder, environment or describe_environment(TARGET))
    best = BestSchedule(task.signature, task.rule.name, choices, 1e-6, 1e-6, 1)
    write_best(folder, best)
    return folder


def kernel_of(prepared):
    return next(kernel for kernel in prepared.manifest.kernels if kernel.kind == KERNEL)


def last_point(task) -> dict[str, str]:
    """Choices that are not those by hand."""
    search = Search(task, TARGET, [])
    assert search.points[-1] != search.by_hand
    return search.points[-1]


def test_a_record_that_fits_is_followed_without_a_warning(task, tmp_path):
    choices = last_point(task)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel = kernel_of(compiled(tune_log=write_log(tmp_path, task, choices)))
    assert (kernel.source, kernel.rule) == ("tuned", task.rule.name)
    assert kernel.note == ", ".join(f"{name} {option}" for name, option in choices.items())


@pytest.mark.parametrize(
    ("choices", "reason"),
    [({"tile": "99x9"}, "tile 99x9 is not offered"), ({}, "tile (none) is not offered")],
)
def test_a_record_that_does_not_fit_gives_the_hand_schedule_and_says_so(
    task, tmp_path, choices, reason
):
    kernel = kernel_of(compiled(tune_log=write_log(tmp_path, task, choices)))
    assert kernel.source == "hand"
    assert "its tuning record does not fit" in kernel.note and reason in kernel.note


def test_a_record_of_another_rule_does_not_fit(task, tmp_path):
    folder = write_log(tmp_path, task, {})
    write_best(folder, BestSchedule(task.signature, "x86.old", {}, 1e-6, 1e-6, 1))
    kernel = kernel_of(compiled(tune_log=folder))
    assert kernel.source == "hand" and "of the rule x86.old" in kernel.note


def test_another_machine_and_other_versions_are_warned_of(task, tmp_path):
    here = describe_environment(TARGET)
    elsewhere = dataclasses.replace(
        here, machine="an 8086", versions={**here.versions, "llvm": "0"}
    )
    folder = write_log(tmp_path, task, last_point(task), elsewhere)
    with pytest.warns(TuneLogWarning, match=r"on an 8086, not .*; llvm 0, not"):
        compiled(tune_log=folder)


def test_a_log_that_no_kernel_uses_is_not_warned_of(task, tmp_path):
    elsewhere = dataclasses.replace(describe_environment(TARGET), machine="an 8086")
    other = dataclasses.replace(task, signature="another kernel")
    folder = write_log(tmp_path, other, {}, elsewhere)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kernel = kernel_of(compiled(tune_log=folder))
    assert (kernel.source, kernel.note) == ("hand", "")


def test_a_corrupt_log_is_refused(task, tmp_path):
    folder = write_log(tmp_path, task, {})
    (folder / "best.json").write_bytes((folder / "best.json").read_bytes()[:-9])
    with pytest.raises(TuneLogError, match=r"best.json is damaged"):
        compiled(tune_log=folder)
