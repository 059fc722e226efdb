"""Bars, tables, charts and the file of results."""

from __future__ import annotations

import pytest
from results_by_hand import kernel, result_of
from rich.console import Console

from benchmarks.acceptance import Bar, bars
from benchmarks.cases import (
    FLOAT_PEERS,
    LOWER_PRECISION,
    NETWORKS,
    OPENVINO,
    OPENVINO_BF16,
    OURS,
    PEAKS,
    RESNET_E18,
    THREADS,
    all_cases,
    network_case,
)
from benchmarks.charts import draw_charts
from benchmarks.figures import Results
from benchmarks.peaks import BINARY, FMA, INT8, L2
from benchmarks.report import sheets
from benchmarks.results import load_results, save_results
from bnn_tvm.errors import InputError


def some_results() -> Results:
    network = network_case(RESNET_E18)
    kernels = [
        kernel("binary", macs=10**9, binary=True, seconds=2e-3, kind="bitserial_conv2d"),
        kernel("stem", macs=10**7),
        kernel("pool", kind="max_pool2d"),
    ]
    seconds = {OURS: [4e-3], OPENVINO: [5e-3], OPENVINO_BF16: [4.5e-3]}
    lower = {entry.label: [4e-3] for entry in LOWER_PRECISION.entries}
    rates = {BINARY: [2e12], FMA: [1e11], L2: [1e11]}
    found = [
        result_of(PEAKS, {}, {BINARY: [2e12], L2: [1e11]}),
        result_of(network, seconds, rates, kernels),
        result_of(LOWER_PRECISION, lower, rates | {INT8: [4e11]}, kernels),
        result_of(THREADS, {"1 thread": [2.0], "2 threads": [1.1]}),
        result_of(FLOAT_PEERS, {entry.label: [1.0] for entry in FLOAT_PEERS.entries}),
    ]
    return {result.case.name: result for result in found}


@pytest.mark.parametrize(
    ("at_least", "figure", "met"),
    [(True, 1.0, True), (True, 0.9, False), (False, 1.0, True), (False, 1.1, False),
     (True, None, False), (False, None, False)],
)  # fmt: skip
def test_a_bar_is_met_or_not(at_least, figure, met):
    assert Bar("what", 1.0, at_least, figure).met is met


def test_every_bar_is_listed_whatever_was_measured():
    assert [bar.what for bar in bars({})] == [bar.what for bar in bars(some_results())]
    assert not any(bar.met for bar in bars({}))


def test_bars_take_the_measured_figures():
    figures = {bar.what: bar.figure for bar in bars(some_results())}
    assert figures[f"{RESNET_E18}: our time / OpenVINO's"] == pytest.approx(0.8)
    assert figures["two threads: speed-up"] == pytest.approx(2 / 1.1)
    assert figures[f"{NETWORKS[1]}: our time / roofline"] is None


def test_sheets_show_what_was_measured_only():
    console = Console(record=True, width=200)
    found = sheets(some_results())
    for sheet in found:
        console.print(sheet.to_rich())
    text = console.export_text()
    assert "2000 GOP/s" in text
    assert "0.80" in text
    assert "Layers from bits to bits" not in text
    assert "not measured" in text


def test_markdown_rows_have_all_columns():
    for sheet in sheets(some_results()):
        lines = [line for line in sheet.to_markdown().splitlines() if line.startswith("|")]
        assert {line.count("|") for line in lines} == {len(sheet.columns) + 1}
        assert len(lines) == len(sheet.rows) + 2


def test_charts_are_written(tmp_path):
    written = draw_charts(some_results(), tmp_path)
    assert {path.name for path in written} == {
        f"{RESNET_E18}.png", f"{RESNET_E18}-kernels.png", "float-peers.png",
        f"{RESNET_E18}-int8-kernels.png", "lower-precision.png",
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_results_survive_their_file(tmp_path):
    path = tmp_path / "results.json"
    results = tuple(some_results().values())
    save_results(results, path)
    assert load_results(path) == results


@pytest.mark.parametrize("text", [None, "[1]", "{"])
def test_foreign_results_are_refused(tmp_path, text):
    path = tmp_path / "results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match="measure"):
        load_results(path)


def test_cases_and_entries_are_named_once():
    names = [case.name for case in all_cases()]
    assert len(set(names)) == len(names)
    for case in all_cases():
        assert len({entry.label for entry in case.entries}) == len(case.entries)
