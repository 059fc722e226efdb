"""Tuning logs on disk: what was found is read again, and nothing else is."""

from __future__ import annotations

import dataclasses

import pytest
from bnn_tvm.schedules import Record
from tuning_harness import HERE, TARGET

from bnn_tvm.errors import TuneLogError
from bnn_tvm.target import get_target
from bnn_tvm.tuning.records import (
    BEST_FILE,
    ENVIRONMENT_FILE,
    BestSchedule,
    find_log,
    write_best,
    write_environment,
)

FOUND = BestSchedule("kernel a", "x86.register_tile", {"tile": "7x4"}, 1e-6, 2e-6, 40)


@pytest.fixture
def log(tmp_path):
    write_environment(tmp_path, HERE)
    write_best(tmp_path, FOUND)
    return tmp_path


def test_what_was_written_is_found(log):
    found = find_log(TARGET, log)
    assert found.environment == HERE and found.kernels == (FOUND,)
    assert found.records() == {"kernel a": Record("x86.register_tile", {"tile": "7x4"})}


def test_the_latest_result_of_a_kernel_replaces_its_others(log):
    faster = dataclasses.replace(FOUND, seconds=5e-7)
    other = dataclasses.replace(FOUND, kernel="kernel 0")
    for found in (other, faster):
        write_best(log, found)
    assert find_log(TARGET, log).kernels == (other, faster)
    assert sorted(path.name for path in log.iterdir()) == [BEST_FILE, ENVIRONMENT_FILE]


@pytest.mark.parametrize("name", [BEST_FILE, ENVIRONMENT_FILE])
@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"kernels": [{}]}', '{"target": 3}'])
def test_damaged_files_are_refused(log, name, content):
    (log / name).write_text(content)
    with pytest.raises(TuneLogError, match=name):
        find_log(TARGET, log)


def test_a_folder_without_a_log_is_refused(tmp_path):
    with pytest.raises(TuneLogError, match="make one with bnn-tvm tune"):
        find_log(TARGET, tmp_path)


def test_another_targets_log_is_refused(log):
    with pytest.raises(TuneLogError, match="is for x86-64-vpopcntdq, not x86-64-avx2"):
        find_log(get_target("x86-64-avx2"), log)


def test_a_target_without_an_installed_log_has_none():
    assert find_log(dataclasses.replace(TARGET, id="no-such-board"), None) is None


def test_environments_tell_how_they_differ():
    moved = dataclasses.replace(HERE, machine="another", versions={**HERE.versions, "llvm": "4"})
    assert HERE.differences(HERE) == []
    assert HERE.differences(moved) == ["on a machine, not another", "llvm 3, not 4"]
    assert HERE.differences(moved, same_machine=False) == ["llvm 3, not 4"]
