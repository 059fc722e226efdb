"""The machine's peaks: that they are measured, and what they must be like to be believed."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.peaks import BINARY, BINARY_AVX2, FMA, L1, L2, PROBES, Gauge, open_gauges
from bnn_tvm.benchmark.measure import Plan, Timing, measure_in_turn
from bnn_tvm.device import LocalDevice

pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or bool(LocalDevice.detect().lacks(["avx2"])),
    reason="needs gcc and AVX2",
)


def test_a_rate_is_work_over_time():
    rate = Gauge(lambda: None, work=100).rate(Timing((2.0, 4.0, 5.0), 1))
    assert rate.median == 25


def test_peaks_are_of_a_sane_size():
    gauges = open_gauges((BINARY, BINARY_AVX2, FMA, L1, L2))
    timings = measure_in_turn({name: g.call for name, g in gauges.items()}, Plan(3))
    rates = {name: gauge.rate(timings[name]).median for name, gauge in gauges.items()}
    assert set(rates) == {BINARY, BINARY_AVX2, FMA, L1, L2}
    assert all(1e9 < rate < 1e14 for rate in rates.values())


def test_each_peak_takes_the_best_loop_that_the_cpu_has():
    assert [probe.function for probe in PROBES if probe.peak == FMA] == ["fma_avx512", "fma_avx2"]


def test_a_peak_that_the_cpu_lacks_is_left_out():
    assert open_gauges(("no such peak",)) == {}
