"""What the measured samples say: block times, ratios, shares of the peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnn_tvm.benchmark.measure import Spread

from .cases import LONG_CHAIN, OPENVINO, OURS, SHORT_CHAIN, Block, block_case, chain_label
from .peaks import BINARY
from .results import CaseResult

Results = dict[str, CaseResult]


@dataclass(frozen=True)
class BlockFigures:
    """One block in a chain, whatever a call costs subtracted.

    Attributes
    ----------
    ours, openvino : Spread
        Seconds.
    speedup : Spread
        OpenVINO's time divided by ours, round by round.
    gops : float
        10^9 operations a second of ours, two for each multiply-accumulate.
    of_peak : float
        The same, divided by the binary peak.
    difference : float
        The largest relative difference between OpenVINO's output and ours.
    """

    ours: Spread
    openvino: Spread
    speedup: Spread
    gops: float
    of_peak: float
    difference: float


def block_figures(results: Results, block: Block) -> BlockFigures | None:
    """Compare one block with OpenVINO's; None if it was not timed."""
    result = results.get(block_case(block).name)
    if result is None:
        return None
    ours, openvino = (_block_seconds(result, engine) for engine in (OURS, OPENVINO))
    operations = 2 * block.macs
    return BlockFigures(
        ours=Spread.of(ours),
        openvino=Spread.of(openvino),
        speedup=ratios(openvino, ours),
        gops=operations / Spread.of(ours).median / 1e9,
        of_peak=ratios([operations / time for time in ours], result.rates[BINARY]).median,
        difference=max(result.differences.values()),
    )


def _block_seconds(result: CaseResult, engine: str) -> list[float]:
    short, long = (
        result.seconds[chain_label(engine, length)] for length in (SHORT_CHAIN, LONG_CHAIN)
    )
    blocks = LONG_CHAIN - SHORT_CHAIN
    return [(b - a) / blocks for a, b in zip(short, long, strict=True)]


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Divide samples of the same rounds."""
    return Spread.of(a / b for a, b in zip(above, below, strict=True))
