"""Judge what the demo found: the numbers decide on success, the speed is only shown."""

from __future__ import annotations

from dataclasses import dataclass

from bnn_tvm.benchmark.bench import BenchReport

from .comparison import BINARY_LAYERS, NEAR, LayerMatch
from .findings import Findings

LEAST_ACCURACY = 0.97
LEAST_SPEEDUP = 5.0  # of the binary network over MXNet's float one
LEAST_LAYER_SPEEDUP = 8.0  # of a binary layer over our float kernel of its shape
LARGE_LAYER_MACS = 5_000_000


@dataclass(frozen=True)
class Check:
    """One line of the verdict; only `numbers` decide on the exit code."""

    text: str
    passed: bool
    numbers: bool = True


def check_all(found: Findings) -> list[Check]:
    """Judge what was found."""
    return [*check_answers(found), *check_layers(found), *check_speed(found.report)]


def check_answers(found: Findings) -> list[Check]:
    """Check accuracy and agreement."""
    binary, full = found.answers
    total = len(binary.labels)
    accuracy = binary.accuracy(binary.ours)
    return [
        Check(
            f"binary accuracy {accuracy:.3f} on {total} held-out digits (at least "
            f"{LEAST_ACCURACY})",
            accuracy >= LEAST_ACCURACY,
        ),
        Check(
            f"binary predictions equal MXNet's on {binary.agreeing} of {total} digits",
            binary.agreeing == total,
        ),
        Check(
            f"float predictions equal MXNet's on {full.agreeing} of {total} digits",
            full.agreeing == total,
        ),
    ]


def check_layers(found: Findings) -> list[Check]:
    """Check that the binary layers run on bits and give MXNet's integers."""
    lowered = {layer.name for layer in found.networks[0].package.manifest.layers if layer.lowered}
    wanted = {layer.name for layer in BINARY_LAYERS}
    checks = [
        Check(f"{len(lowered & wanted)} of {len(wanted)} binary layers lowered", wanted <= lowered)
    ]
    for match in found.matches:
        checks += check_layer(match)
    near = sum(match.near for match in found.matches)
    text = f"predictions equal wherever none of the {near} near values is involved"
    return [*checks, Check(text, found.clear_agreeing)]


def check_layer(match: LayerMatch) -> list[Check]:
    """Check the numbers of one layer."""
    name, near = match.layer, f"{match.near:,} of {match.inputs:,} lie within {NEAR:g} of 0"
    return [
        Check(
            f"{name}: {match.different_alone:,} of {match.outputs:,} integers differ, fed "
            "MXNet's pre-sign values",
            match.different_alone == 0,
        ),
        Check(
            f"{name}: end to end {match.different_bits:,} of {match.compared_bits:,} signs "
            f"differ where no pre-sign value is near ({near})",
            match.different_bits == 0,
        ),
        Check(
            f"{name}: end to end {match.different_counts:,} of {match.compared_counts:,} "
            "integers differ where no pre-sign value is near",
            match.different_counts == 0,
        ),
    ]


def check_speed(report: BenchReport) -> list[Check]:
    """Compare the measured ratios with what is expected; no condition of success."""
    ratio = report.models[2].speedup.median
    text = f"binary network {ratio:.1f}x as fast as MXNet float (expected: {LEAST_SPEEDUP:g}x)"
    checks = [Check(text, ratio >= LEAST_SPEEDUP, numbers=False)]
    for kernel in report.kernels:
        if not kernel.binary or kernel.macs < LARGE_LAYER_MACS:
            continue
        ratio = next(iter(kernel.speedups.values())).median
        text = (
            f"{', '.join(kernel.layers)} ({kernel.macs / 1e6:.2f} MMAC) {ratio:.1f}x as fast as "
            f"our float kernel (expected: {LEAST_LAYER_SPEEDUP:g}x)"
        )
        checks.append(Check(text, ratio >= LEAST_LAYER_SPEEDUP, numbers=False))
    return checks
