"""Draws results: network times, and time per layer against the roofline."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from bnn_tvm.benchmark.chart import draw_bars
from bnn_tvm.package.atomic import write_atomically

from .cases import FLOAT_PEERS, LOWER_PRECISION, NETWORKS, OURS_INT8, RESNET_E18, network_case
from .figures import Results, network_figures, roof_of
from .results import CaseResult
from .roofline import Roof

_BINARY, _FLOAT, _OTHER = "#1b6ca8", "#d08a2e", "#b8b8b8"
_DPI = 150


def draw_charts(results: Results, folder: Path) -> list[Path]:
    """Write a PNG image for each network and for the float peers; return what was written."""
    written = []
    for name in NETWORKS:
        if result := results.get(network_case(name).name):
            written += [folder / f"{name}-kernels.png", folder / f"{name}.png"]
            _draw_kernels(name, result, written[-2])
            _draw_times(results, name, written[-1])
    if result := results.get(LOWER_PRECISION.name):
        written += [folder / f"{RESNET_E18}-int8-kernels.png", folder / "lower-precision.png"]
        _draw_kernels(f"{RESNET_E18}, {OURS_INT8}", result, written[-2])
        _draw_entries("ResNetE18 with float layers in lower precision", result, written[-1])
    if result := results.get(FLOAT_PEERS.name):
        written.append(folder / "float-peers.png")
        _draw_entries("ResNetE18 against float ResNet-18", result, written[-1])
    return written


def _draw_times(results: Results, name: str, path: Path) -> None:
    """Draw the engines' times and the roofline."""
    figures = network_figures(results, name)
    assert figures is not None
    times = {label: seconds.median for label, seconds in figures.seconds.items()}
    times["roofline"] = figures.bound
    milliseconds = [time * 1e3 for time in times.values()]
    write_atomically(path, draw_bars(f"{name}, 224 x 224", list(times), milliseconds))


def _draw_entries(title: str, result: CaseResult, path: Path) -> None:
    medians = [sorted(samples)[len(samples) // 2] * 1e3 for samples in result.seconds.values()]
    write_atomically(path, draw_bars(title, list(result.seconds), medians))


def _draw_kernels(name: str, result: CaseResult, path: Path) -> None:
    """Draw each kernel's time in a run, and a mark where the roofline would have it."""
    roof = roof_of(result)
    kernels = sorted(result.kernels, key=lambda kernel: -kernel.total)
    places = range(len(kernels))
    figure = Figure(figsize=(8, 1.5 + 0.22 * len(kernels)), layout="constrained")
    axes = figure.subplots()
    axes.barh(
        places,
        [kernel.total * 1e6 for kernel in kernels],
        color=[_color(kernel.macs, kernel.binary) for kernel in kernels],
    )
    for place, kernel in zip(places, kernels, strict=True):
        if kernel.macs:
            bound = kernel.uses * roof.bound(kernel) * 1e6
            axes.plot([bound, bound], [place - 0.45, place + 0.45], color="black", linewidth=1.5)
    axes.set_yticks(places, [f"{k.name} x{k.uses}" for k in kernels], fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("us in one run; blue: on bits, orange: float; black: at the roofline")
    axes.set_title(f"{name}: kernels ({_peaks(roof)})", fontsize=9)
    figure.savefig(path, dpi=_DPI)


def _color(macs: int, binary: bool) -> str:
    if not macs:
        return _OTHER
    return _BINARY if binary else _FLOAT


def _peaks(roof: Roof) -> str:
    return (
        f"binary {roof.binary / 1e9:.0f} GOP/s, FMA {roof.fma / 1e9:.0f} GFLOP/s, "
        f"L2 {roof.bytes_per_second / 1e9:.0f} GB/s"
    )
