"""The bars that the compiler is held against, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .cases import (
    AVX2,
    BLOCKS,
    DENSENET28,
    F32,
    HOST,
    INT8_PRECISION,
    LAYERS,
    MELIUSNET22,
    NETWORKS,
    OPENVINO,
    OURS,
    OURS_INT8,
    RESNET_E18,
)
from .figures import (
    Results,
    batch_gain,
    best_peer,
    block_figures,
    layer_figures,
    network_figures,
    relative_bf16,
    thread_speedup,
)

_BLOCK_SPEEDUPS = (1.2, 1.15, 1.1, 1.1, 1.5, 1.4, 1.2, 1.1)
_OF_OPENVINO = {RESNET_E18: 0.85, DENSENET28: 0.8, MELIUSNET22: 0.8}
_OF_ROOFLINE = {RESNET_E18: 1.2, DENSENET28: 1.35, MELIUSNET22: 1.35}


@dataclass(frozen=True)
class Bar:
    """One demand.

    Attributes
    ----------
    what : str
    limit : float
    at_least : bool
        Whether the figure must reach the limit; otherwise it must not pass it.
    figure : float or None
        What was measured; None if it was not.
    """

    what: str
    limit: float
    at_least: bool
    figure: float | None

    @property
    def met(self) -> bool:
        """Whether it was measured and holds."""
        if self.figure is None:
            return False
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def bars(results: Results) -> list[Bar]:
    """List every bar."""
    groups = (_block_bars, _layer_bars, _network_bars, _peer_bars, _scaling_bars)
    return [bar for group in groups for bar in group(results)]


def _block_bars(results: Results) -> Iterator[Bar]:
    for block, limit in zip(BLOCKS, _BLOCK_SPEEDUPS, strict=True):
        figures = block_figures(results, block)
        speedup = figures.speedup.median if figures else None
        yield Bar(f"block {block.name}: OpenVINO's time / ours", limit, True, speedup)


def _layer_bars(results: Results) -> Iterator[Bar]:
    for target, limit in ((HOST, 0.95), (AVX2, 0.75)):
        for block in LAYERS:
            figures = layer_figures(results, block, target)
            share = figures.of_peak.median if figures else None
            yield Bar(f"layer {block.name} for {target}: share of peak", limit, True, share)


def _network_bars(results: Results) -> Iterator[Bar]:
    for name in NETWORKS:
        figures = network_figures(results, name)
        relative = figures.relative[OPENVINO].median if figures else None
        of_bound = figures.of_bound if figures else None
        yield Bar(f"{name}: our time / OpenVINO's", _OF_OPENVINO[name], False, relative)
        yield Bar(f"{name}: our time / roofline", _OF_ROOFLINE[name], False, of_bound)
        if name == RESNET_E18:
            outside = figures.outside if figures else None
            yield Bar(f"{name}: share outside convolutions", 0.1, False, outside)


def _peer_bars(results: Results) -> Iterator[Bar]:
    bf16, of_float = relative_bf16(results), relative_bf16(results, OURS)
    what = f"{RESNET_E18}: our time / OpenVINO's, both with float layers in bf16"
    yield Bar(what, 0.85, False, bf16.median if bf16 else None)
    what = f"{RESNET_E18}: our time with float layers in bf16 / in f32"
    yield Bar(what, 1.0, False, of_float.median if of_float else None)
    for ours in (OURS, OURS_INT8):
        for precision, limit in ((F32, 7.0), (INT8_PRECISION, 2.0)):
            what = f"{RESNET_E18}: time of the best {precision} ResNet-18 / {ours}"
            yield Bar(what, limit, True, best_peer(results, precision, ours))


def _scaling_bars(results: Results) -> Iterator[Bar]:
    threads, batch = thread_speedup(results), batch_gain(results)
    yield Bar("two threads: speed-up", 1.85, True, threads.median if threads else None)
    yield Bar("batch 32: images a second / batch 1's", 1.0, True, batch.median if batch else None)
