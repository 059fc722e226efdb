"""What the measured samples say: block times, ratios, shares of the peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bnn_tvm.benchmark.measure import Spread

from .cases import (
    AVX2,
    BATCH,
    BATCHES,
    FLOAT_PEERS,
    HOST,
    LONG_CHAIN,
    LOWER_PRECISION,
    OPENVINO,
    OPENVINO_BF16,
    OURS,
    OURS_BF16,
    SHORT_CHAIN,
    THREADS,
    Block,
    block_case,
    chain_label,
    layer_case,
    network_case,
)
from .peaks import BINARY, BINARY_AVX2, FMA, INT8, L2
from .results import CaseResult
from .roofline import Roof, share_outside_convolutions

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


@dataclass(frozen=True)
class LayerFigures:
    """A layer from bits to bits.

    Attributes
    ----------
    seconds : Spread
    gops : float
        10^9 operations a second, two for each multiply-accumulate.
    of_peak : Spread
        The same, divided by the peak of the target's instructions, round by round.
    """

    seconds: Spread
    gops: float
    of_peak: Spread


def layer_figures(results: Results, block: Block, target: str) -> LayerFigures | None:
    """Measure one layer against the peak of a target; None if it was not timed."""
    result = results.get(layer_case(block).name)
    if result is None:
        return None
    seconds, peak = result.seconds[target], result.rates[_PEAK_OF_TARGET[target]]
    rates = [2 * block.macs / time for time in seconds]
    return LayerFigures(Spread.of(seconds), median(rates) / 1e9, ratios(rates, peak))


_PEAK_OF_TARGET = {HOST: BINARY, AVX2: BINARY_AVX2}


@dataclass(frozen=True)
class NetworkFigures:
    """A network against OpenVINO's form of the same graph and against the roofline.

    Attributes
    ----------
    seconds : dict of str to Spread
        By entry.
    relative : dict of str to Spread
        Our time divided by that of each other entry, round by round.
    bound : float
        Seconds at the roofline.
    of_bound : float
        Our time divided by that.
    kernel_seconds : float
        Our kernels' times, each alone, added up.
    outside : float
        Share of them that is not in convolutions.
    difference : float
        The largest relative difference of OpenVINO's float32 output from ours.
    """

    seconds: dict[str, Spread]
    relative: dict[str, Spread]
    bound: float
    of_bound: float
    kernel_seconds: float
    outside: float
    difference: float


def network_figures(results: Results, name: str) -> NetworkFigures | None:
    """Compare one network; None if it was not timed."""
    result = results.get(network_case(name).name)
    if result is None:
        return None
    ours = result.seconds[OURS]
    bound = roof_of(result).network_bound(result.kernels)
    return NetworkFigures(
        seconds={label: Spread.of(samples) for label, samples in result.seconds.items()},
        relative={
            label: ratios(ours, samples)
            for label, samples in result.seconds.items()
            if label != OURS
        },
        bound=bound,
        of_bound=median(ours) / bound,
        kernel_seconds=sum(kernel.total for kernel in result.kernels),
        outside=share_outside_convolutions(result.kernels),
        difference=result.differences[OPENVINO],
    )


@dataclass(frozen=True)
class PrecisionFigures:
    """ResNetE18 as one entry runs it, against ours with all float layers in float32.

    Attributes
    ----------
    seconds : Spread
    speedup : Spread
        Our time in float32 divided by its own, round by round.
    difference : float
        The largest difference of its output from ours in float32, of the largest value of that.
    """

    seconds: Spread
    speedup: Spread
    difference: float


def precision_figures(results: Results) -> dict[str, PrecisionFigures]:
    """Compare float layers in lower precision, by entry; empty if they were not timed."""
    result = results.get(LOWER_PRECISION.name)
    if result is None:
        return {}
    exact = result.seconds[OURS]
    return {
        label: PrecisionFigures(
            Spread.of(samples), ratios(exact, samples), result.differences[label]
        )
        for label, samples in result.seconds.items()
    }


def relative_bf16(results: Results, to: str = OPENVINO_BF16) -> Spread | None:
    """Divide our time with float layers in bfloat16 by that of another entry."""
    result = results.get(LOWER_PRECISION.name)
    return None if result is None else ratios(result.seconds[OURS_BF16], result.seconds[to])


def roof_of(result: CaseResult) -> Roof:
    """Take the peaks that were measured in a case's rounds."""
    binary, fma, bytes_per_second = (median(result.rates[peak]) for peak in (BINARY, FMA, L2))
    return Roof(binary, fma, bytes_per_second, median(result.rates.get(INT8, (0.0,))))


def peer_speedups(results: Results, ours: str = OURS) -> dict[str, Spread]:
    """Divide times of float and int8 ResNet-18 by our binary network's, for each peer.

    Parameters
    ----------
    results : dict of str to CaseResult
    ours : str
        Which of our entries.
    """
    result = results.get(FLOAT_PEERS.name)
    if result is None:
        return {}
    peers = [entry.label for entry in result.case.entries if entry.engine != OURS]
    return {label: ratios(result.seconds[label], result.seconds[ours]) for label in peers}


def best_peer(results: Results, precision: str, ours: str = OURS) -> float | None:
    """Speed-up over the fastest peer of one precision, as entries name it."""
    speedups = peer_speedups(results, ours)
    found = [s.median for label, s in speedups.items() if label.endswith(precision)]
    return min(found, default=None)


def thread_speedup(results: Results) -> Spread | None:
    """Divide the time on one thread by that on two."""
    result = results.get(THREADS.name)
    return None if result is None else ratios(*_pair(result))


def batch_gain(results: Results) -> Spread | None:
    """Divide images a second in a batch by those one by one."""
    result = results.get(BATCHES.name)
    if result is None:
        return None
    one, many = _pair(result)
    return ratios([BATCH * time for time in one], many)


def _pair(result: CaseResult) -> tuple[Sequence[float], Sequence[float]]:
    first, second = (result.seconds[entry.label] for entry in result.case.entries)
    return first, second
