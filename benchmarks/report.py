"""Shows results as tables, for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from bnn_tvm.benchmark.measure import Spread
from bnn_tvm.benchmark.report import format_seconds

from .acceptance import Bar, bars
from .cases import (
    AVX2,
    BATCHES,
    BLOCKS,
    FLOAT_PEERS,
    HOST,
    LAYERS,
    LOWER_PRECISION,
    NETWORKS,
    OURS,
    OURS_INT8,
    PEAKS,
    RESNET_E18,
    THREADS,
    network_case,
)
from .figures import (
    Results,
    batch_gain,
    block_figures,
    layer_figures,
    network_figures,
    peer_speedups,
    precision_figures,
    roof_of,
    thread_speedup,
)
from .kernel_times import KernelTime
from .results import CaseResult
from .roofline import Roof

# Share of a network's time from which on a kernel gets a row of its own.
_LONG = 0.02


@dataclass(frozen=True)
class Sheet:
    """A table before it gets a look.

    Attributes
    ----------
    title : str
    columns : tuple of str
    rows : sequence of tuple of str
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def to_rich(self) -> Table:
        """Lay it out for a terminal."""
        table = Table(title=self.title)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self) -> str:
        """Write it as Markdown."""
        rule = ["---", *["--:"] * (len(self.columns) - 1)]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.columns, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, ""])


def sheets(results: Results) -> list[Sheet]:
    """Lay out everything that was measured, the bars last."""
    found = [
        _environment_sheet(results),
        _peak_sheet(results),
        _block_sheet(results),
        _layer_sheet(results),
        _network_sheet(results),
        *(_kernel_sheet(results.get(network_case(name).name), name) for name in NETWORKS),
        _precision_sheet(results),
        _kernel_sheet(results.get(LOWER_PRECISION.name), f"{RESNET_E18}, {OURS_INT8}"),
        _peer_sheet(results),
        _scaling_sheet(results),
        bar_sheet(bars(results)),
    ]
    return [sheet for sheet in found if sheet.rows]


def _environment_sheet(results: Results) -> Sheet:
    rows: dict[str, str] = {}
    for result in results.values():
        facts = result.environment
        rows |= {"CPU": facts.cpu_model, "system": facts.system, **facts.versions}
    return Sheet("Environment", ("what", "which"), list(rows.items()))


def _peak_sheet(results: Results) -> Sheet:
    rates = results[PEAKS.name].rates if PEAKS.name in results else {}
    rows = []
    for name, samples in rates.items():
        rate = Spread.of(samples)
        unit = "GB/s" if name.startswith("L") else "GOP/s"
        rows.append((name, f"{rate.median / 1e9:.4g} {unit}", _quartiles(rate, 1e9)))
    return Sheet("Peaks of one core", ("peak", "median", "quartiles"), rows)


def _block_sheet(results: Results) -> Sheet:
    rows = []
    for block in BLOCKS:
        if figures := block_figures(results, block):
            rows.append(
                (
                    block.name,
                    format_seconds(figures.ours.median),
                    format_seconds(figures.openvino.median),
                    f"{figures.speedup.median:.2f}",
                    _quartiles(figures.speedup),
                    f"{figures.gops:.0f}",
                    f"{figures.of_peak:.0%}",
                )
            )
    columns = ("block", "ours", "OpenVINO", "theirs / ours", "quartiles", "GOP/s", "of peak")
    return Sheet("Blocks in a chain: sign, convolution, BN, add", columns, rows)


def _layer_sheet(results: Results) -> Sheet:
    rows = []
    for target in (HOST, AVX2):
        for block in LAYERS:
            if figures := layer_figures(results, block, target):
                time = format_seconds(figures.seconds.median)
                share = (f"{figures.of_peak.median:.1%}", _quartiles(figures.of_peak))
                rows.append((block.name, target, time, f"{figures.gops:.0f}", *share))
    columns = ("layer", "target", "time", "GOP/s", "of peak", "quartiles")
    return Sheet("Layers from bits to bits", columns, rows)


def _network_sheet(results: Results) -> Sheet:
    rows = []
    for name in NETWORKS:
        if figures := network_figures(results, name):
            for label, seconds in figures.seconds.items():
                relative = figures.relative.get(label)
                ratio = (f"{relative.median:.2f}", _quartiles(relative)) if relative else ("", "")
                of_bound = f"{seconds.median / figures.bound:.2f}"
                rows.append((name, label, format_seconds(seconds.median), *ratio, of_bound))
    columns = ("network", "engine", "time", "ours / theirs", "quartiles", "time / our roofline")
    return Sheet("Networks, 224 x 224, batch 1", columns, rows)


def _kernel_sheet(result: CaseResult | None, name: str) -> Sheet:
    """Lay out the kernels that take longest, and the others in one row."""
    if result is None:
        return Sheet("", (), [])
    total = sum(kernel.total for kernel in result.kernels)
    ordered = sorted(result.kernels, key=lambda kernel: -kernel.total)
    long = [kernel for kernel in ordered if kernel.total >= _LONG * total]
    rows = [_kernel_row(kernel, roof_of(result), total) for kernel in long]
    rest = sum(kernel.total for kernel in ordered[len(long) :])
    others = f"{len(ordered) - len(long)} others"
    rows.append((others, "", format_seconds(rest), "", "", f"{rest / total:.1%}"))
    columns = ("kernel", "uses", "time", "at the roofline", "GOP/s", "share")
    return Sheet(f"Kernels of {name}, each alone: {format_seconds(total)}", columns, rows)


def _kernel_row(kernel: KernelTime, roof: Roof, total: float) -> tuple[str, ...]:
    return (
        kernel.name,
        str(kernel.uses),
        format_seconds(kernel.seconds),
        format_seconds(roof.bound(kernel)) if kernel.macs else "",
        f"{2 * kernel.macs / kernel.seconds / 1e9:.0f}" if kernel.macs else "",
        f"{kernel.total / total:.1%}",
    )


def _precision_sheet(results: Results) -> Sheet:
    rows = [
        (
            f"{OURS}, all in f32" if label == OURS else label,
            format_seconds(figures.seconds.median),
            f"{figures.speedup.median:.2f}",
            _quartiles(figures.speedup),
            f"{figures.difference:.1%}",
        )
        for label, figures in precision_figures(results).items()
    ]
    columns = ("engine", "time", "ours in f32 / it", "quartiles", "largest change of output")
    return Sheet("ResNetE18 with float layers in lower precision", columns, rows)


def _peer_sheet(results: Results) -> Sheet:
    rows: list[tuple[str, ...]] = []
    exact, lower = peer_speedups(results), peer_speedups(results, OURS_INT8)
    if exact:
        seconds = results[FLOAT_PEERS.name].seconds
        for ours, name in ((OURS, f"{OURS}, binary, other layers in f32"), (OURS_INT8, OURS_INT8)):
            rows.append((name, format_seconds(Spread.of(seconds[ours]).median), "", "", "", ""))
        for label, speedup in exact.items():
            time = format_seconds(Spread.of(seconds[label]).median)
            row = [f for s in (speedup, lower[label]) for f in (f"{s.median:.2f}", _quartiles(s))]
            rows.append((label, time, *row))
    columns = ("engine", "time", "theirs / ours", "quartiles", f"theirs / {OURS_INT8}", "quartiles")
    return Sheet("ResNetE18 against ResNet-18 in float and int8", columns, rows)


def _scaling_sheet(results: Results) -> Sheet:
    rows = []
    for case, gain in ((THREADS, thread_speedup(results)), (BATCHES, batch_gain(results))):
        if gain is not None:
            times = (Spread.of(s).median for s in results[case.name].seconds.values())
            ratio = f"{gain.median:.2f}"
            rows.append((case.name, *map(format_seconds, times), ratio, _quartiles(gain)))
    return Sheet("Scaling of ResNetE18", ("what", "one", "more", "gain", "quartiles"), rows)


def bar_sheet(found: list[Bar]) -> Sheet:
    """Say which bars are met."""
    rows = [
        (
            bar.what,
            f"{'>=' if bar.at_least else '<='} {bar.limit:g}",
            "not measured" if bar.figure is None else f"{bar.figure:.3g}",
            "" if bar.figure is None else "yes" if bar.met else "no",
        )
        for bar in found
    ]
    return Sheet("Bars", ("bar", "limit", "figure", "met"), rows)


def _quartiles(spread: Spread, unit: float = 1.0) -> str:
    lower, upper = spread.lower_quartile / unit, spread.upper_quartile / unit
    return f"{lower:.3g} - {upper:.3g}"
