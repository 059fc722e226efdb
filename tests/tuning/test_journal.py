"""The journal of measurements: whole lines are kept, half a line is cut off, damage is refused."""

from __future__ import annotations

import pytest

from bnn_tvm.errors import TuneLogError
from bnn_tvm.tuning.journal import JOURNAL_FILE, Journal, Measurement

GOOD = Measurement("kernel a", "x86.register_tile", {"tile": "7x4"}, (1.5e-6, 2e-6), "")
FAILED = Measurement("kernel b", "x86.register_tile", {}, (), "timed out")


def written(folder) -> bytes:
    with Journal(folder) as journal:
        journal.append([GOOD])
        journal.append([FAILED, GOOD])
    return (folder / JOURNAL_FILE).read_bytes()


def test_what_is_appended_is_read_again(tmp_path):
    assert written(tmp_path).count(b"\n") == 3
    with Journal(tmp_path) as journal:
        assert journal.measurements == [GOOD, FAILED, GOOD]


def test_half_a_line_at_any_byte_costs_only_itself(tmp_path):
    whole = written(tmp_path)
    first_end = whole.index(b"\n") + 1
    second_end = whole.index(b"\n", first_end) + 1
    for size in range(first_end, second_end, 7):
        (tmp_path / JOURNAL_FILE).write_bytes(whole[:size])
        with Journal(tmp_path) as journal:
            assert journal.measurements == [GOOD]
            journal.append([FAILED])
        assert (tmp_path / JOURNAL_FILE).read_bytes() == whole[:second_end]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"kernel": "a"}',
        b'{"kernel": 1, "rule": "", "choices": {}, "seconds": [], "error": ""}',
        b'{"kernel": "", "rule": "", "choices": {}, "seconds": ["1"], "error": ""}',
        b"[" * 100000,
    ],
)
def test_a_damaged_line_is_refused_with_its_number(tmp_path, line):
    whole = written(tmp_path)
    (tmp_path / JOURNAL_FILE).write_bytes(whole + line + b"\n" + whole)
    with pytest.raises(TuneLogError, match=r"line 4 of .*measurements.jsonl"):
        Journal(tmp_path)


def test_one_process_at_a_time(tmp_path):
    with Journal(tmp_path), pytest.raises(TuneLogError, match="another process"):
        Journal(tmp_path)
    with Journal(tmp_path) as journal:
        assert journal.measurements == []
