"""What is derived from samples, on samples made by hand."""

from __future__ import annotations

import pytest
from results_by_hand import kernel, result_of

from benchmarks.cases import (
    AVX2,
    BATCHES,
    BLOCKS,
    F32,
    FLOAT_PEERS,
    HOST,
    INT8_PRECISION,
    LOWER_PRECISION,
    OPENVINO,
    OPENVINO_BF16,
    OURS,
    OURS_BF16,
    OURS_INT8,
    RESNET_E18,
    THREADS,
    block_case,
    chain_label,
    layer_case,
    network_case,
)
from benchmarks.figures import (
    batch_gain,
    best_peer,
    block_figures,
    layer_figures,
    network_figures,
    precision_figures,
    relative_bf16,
    thread_speedup,
)
from benchmarks.peaks import BINARY, BINARY_AVX2, FMA, L2
from benchmarks.results import CaseResult

BLOCK = BLOCKS[3]
# What disturbs a round disturbs all that is timed in it.
DISTURBANCE = (1.0, 1.25, 2.0)


def disturbed(seconds: float) -> tuple[float, ...]:
    return tuple(factor * seconds for factor in DISTURBANCE)


def slowed(rate: float) -> tuple[float, ...]:
    return tuple(rate / factor for factor in DISTURBANCE)


def block_result() -> CaseResult:
    """Calls cost 5 us for us and 50 us for OpenVINO, blocks 100 and 150 us."""
    costs = {OURS: (5e-6, 100e-6), OPENVINO: (50e-6, 150e-6)}
    seconds = {
        chain_label(engine, length): disturbed(call + length * block)
        for engine, (call, block) in costs.items()
        for length in (2, 6)
    }
    return result_of(block_case(BLOCK), seconds, {BINARY: slowed(2 * BLOCK.macs / 80e-6)})


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
    assert figures.difference == 1e-7


def test_layers_are_held_against_the_peak_of_their_instructions():
    operations = 2 * BLOCK.macs
    case = layer_case(BLOCK)
    seconds = {HOST: disturbed(1e-4), AVX2: disturbed(3e-4)}
    rates = {BINARY: slowed(operations / 0.9e-4), BINARY_AVX2: slowed(operations / 2.4e-4)}
    results = {case.name: result_of(case, seconds, rates)}
    assert layer_figures(results, BLOCK, HOST).of_peak.median == pytest.approx(0.9)
    assert layer_figures(results, BLOCK, AVX2).of_peak.median == pytest.approx(0.8)


def test_networks_are_held_against_openvino_and_the_roofline():
    case = network_case(RESNET_E18)
    seconds = {
        OURS: [6e-3] * 3,
        OPENVINO: [8e-3] * 3,
        OURS_BF16: [4e-3] * 3,
        OPENVINO_BF16: [5e-3] * 3,
    }
    rates = {BINARY: [2e12], FMA: [1e11], L2: [1e11]}
    kernels = [
        kernel("binary", macs=10**9, binary=True, uses=3, seconds=1.5e-3, kind="bitserial_conv2d"),
        kernel("float", macs=10**8, nbytes=100, seconds=2.5e-3),
        kernel("pool", seconds=1e-3, kind="max_pool2d", nbytes=10**9),
    ]
    results = {case.name: result_of(case, seconds, rates, kernels)}
    figures = network_figures(results, RESNET_E18)
    assert figures.relative[OPENVINO].median == pytest.approx(0.75)
    assert figures.bound == pytest.approx(3 * 1e-3 + 2e-3)
    assert figures.of_bound == pytest.approx(1.2)
    assert figures.kernel_seconds == pytest.approx(8e-3)
    assert figures.outside == pytest.approx(1 / 8)


def test_the_best_peer_is_the_fastest_of_its_precision():
    seconds = {entry.label: [10.0] for entry in FLOAT_PEERS.entries}
    seconds |= {OURS: [1.0], f"{OPENVINO}, {F32}": [7.0], f"{OPENVINO}, {INT8_PRECISION}": [2.0]}
    results = {FLOAT_PEERS.name: result_of(FLOAT_PEERS, seconds)}
    assert best_peer(results, F32) == 7
    assert best_peer(results, INT8_PRECISION) == 2


def test_our_own_entries_are_no_peers():
    seconds = {entry.label: [10.0] for entry in FLOAT_PEERS.entries}
    seconds |= {OURS: [4.0], OURS_INT8: [2.0]}
    results = {FLOAT_PEERS.name: result_of(FLOAT_PEERS, seconds)}
    assert best_peer(results, INT8_PRECISION) == 2.5
    assert best_peer(results, INT8_PRECISION, OURS_INT8) == 5


def test_lower_precision_is_held_against_float32_and_openvino():
    seconds = {OURS: [6.0], OURS_BF16: [4.0], OPENVINO_BF16: [5.0]}
    results = {LOWER_PRECISION.name: result_of(LOWER_PRECISION, seconds)}
    assert relative_bf16(results).median == pytest.approx(0.8)
    assert relative_bf16(results, OURS).median == pytest.approx(4 / 6)
    assert precision_figures(results)[OURS_BF16].speedup.median == pytest.approx(1.5)
    assert relative_bf16({}) is None and precision_figures({}) == {}


def test_scaling():
    threads = result_of(THREADS, {"1 thread": [2.0], "2 threads": [1.0]})
    batches = result_of(BATCHES, {"batch 1": [1.0], "batch 32": [16.0]})
    assert thread_speedup({THREADS.name: threads}).median == 2
    assert batch_gain({BATCHES.name: batches}).median == 2


def test_what_was_not_timed_has_no_figures():
    assert block_figures({}, BLOCK) is None
    assert layer_figures({}, BLOCK, HOST) is None
    assert network_figures({}, RESNET_E18) is None
    assert best_peer({}, F32) is None
    assert thread_speedup({}) is None
    assert batch_gain({}) is None
