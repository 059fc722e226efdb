"""What is derived from samples, on samples made by hand."""

from __future__ import annotations

import pytest
from rich.console import Console

from benchmarks.cases import BLOCKS, OPENVINO, OURS, all_cases, block_case, chain_label
from benchmarks.figures import block_figures
from benchmarks.peaks import BINARY
from benchmarks.report import tables
from benchmarks.results import CaseResult, load_results, save_results
from bnn_tvm.benchmark.environment import Environment
from bnn_tvm.errors import InputError

ENVIRONMENT = Environment("a CPU", "x86_64", 1, 1, "Linux", {})
BLOCK = BLOCKS[3]


def block_result() -> CaseResult:
    """Calls cost 5 us for us and 50 us for OpenVINO, blocks 100 and 150 us; rounds differ."""
    disturbance = (1.0, 1.25, 2.0)
    costs = {OURS: (5e-6, 100e-6), OPENVINO: (50e-6, 150e-6)}
    seconds = {
        chain_label(engine, length): tuple(d * (call + length * block) for d in disturbance)
        for engine, (call, block) in costs.items()
        for length in (2, 6)
    }
    peak = 2 * BLOCK.macs / 80e-6
    rates = {BINARY: tuple(peak / d for d in disturbance)}
    return CaseResult(block_case(BLOCK), ENVIRONMENT, seconds, rates, {"a": 1e-7, "b": 2e-7})


def test_block_times_leave_out_the_cost_of_a_call():
    figures = block_figures({block_result().case.name: block_result()}, BLOCK)
    assert figures.ours.minimum == pytest.approx(100e-6)
    assert figures.openvino.minimum == pytest.approx(150e-6)
    assert figures.ours.median == pytest.approx(125e-6)


def test_ratios_are_of_the_same_round():
    figures = block_figures({block_result().case.name: block_result()}, BLOCK)
    assert figures.speedup.lower_quartile == pytest.approx(1.5)
    assert figures.speedup.upper_quartile == pytest.approx(1.5)
    assert figures.of_peak == pytest.approx(0.8)
    assert figures.difference == 2e-7


def test_a_block_that_was_not_timed_has_no_figures():
    assert block_figures({}, BLOCK) is None


def test_results_survive_their_file(tmp_path):
    path = tmp_path / "results.json"
    save_results((block_result(),), path)
    assert load_results(path) == (block_result(),)


@pytest.mark.parametrize("text", [None, "[1]", "{"])
def test_foreign_results_are_refused(tmp_path, text):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="measure"):
        load_results(path)


def test_tables_show_what_was_measured_only(tmp_path):
    console = Console(record=True, width=200)
    for table in tables({block_result().case.name: block_result()}):
        console.print(table)
    text = console.export_text()
    assert BLOCK.name in text
    assert "1.50x" in text
    assert "peaks of one core" not in text


def test_cases_and_labels_are_named_once():
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names)
    for case in all_cases():
        assert len({entry.label for entry in case.entries}) == len(case.entries)
