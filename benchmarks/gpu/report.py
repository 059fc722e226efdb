"""Shows what was measured on a GPU: bars, tables and a roofline chart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bnn_tvm.benchmark.report import format_seconds
from bnn_tvm.package.atomic import write_atomically

from ..acceptance import Bar
from ..kernel_times import KernelTime
from ..report import Sheet, bar_sheet
from .results import LIMITS, PEER, Group
from .work import LATENCY, LAYERS, PRODUCT, THROUGHPUT

_OF_PEAK, _OVER_INT8, _OVER_HALF_LAYER, _OVER_HALF_RESNET = 0.55, 3.0, 4.0, 2.0
_LATENCIES = dict(zip(LATENCY, (0.22e-3, 0.30e-3), strict=True))
# Share of a network's time from which on a kernel gets a row of its own.
_LONG = 0.01
_DPI = 150


def bars(groups: Iterable[Group]) -> list[Bar]:
    """List what the project asks of a card; the fastest instruction counts."""
    by_title = {group.title: group for group in groups}
    product = by_title.get(PRODUCT.title)
    found = [
        Bar(f"{PRODUCT.title}: of the and peak", _OF_PEAK, True, _of_peak(product)),
        _over_peer(f"{PRODUCT.title}: cuBLAS int8 / ours", product, _OVER_INT8),
    ]
    for work in LAYERS:
        name = f"{work.title}: PyTorch float16 / ours"
        found.append(_over_peer(name, by_title.get(work.title), _OVER_HALF_LAYER))
    for work, limit in _LATENCIES.items():
        group = by_title.get(work.title)
        took = group.spread(group.fastest).median * 1e3 if group else None
        found.append(Bar(f"{work.title}: ms", limit * 1e3, False, took))
    name = f"{THROUGHPUT.title}: float16 ResNet-18 / ours"
    return [*found, _over_peer(name, by_title.get(THROUGHPUT.title), _OVER_HALF_RESNET)]


def sheets(groups: Sequence[Group]) -> list[Sheet]:
    """Lay everything out as tables."""
    kernels = [_kernel_sheet(group) for group in groups if group.kernels]
    return [bar_sheet(bars(groups)), _group_sheet(groups), *kernels]


def draw_roofline(groups: Sequence[Group], path: Path) -> None:
    """Draw operations a second over operations a byte, of all that counts bits."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    intensities = []
    for group in groups:
        points = list(_points(group))
        intensities += [x for x, _ in points]
        axes.scatter([x for x, _ in points], [y / 1e12 for _, y in points], s=14, label=group.title)
    peak, rate = groups[0].peak, groups[0].bytes_per_second
    roof = sorted([min(intensities) / 2, peak / rate, max(intensities) * 2])
    axes.plot(roof, [min(peak, rate * x) / 1e12 for x in roof], color="black", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte of operands", ylabel="TOPS")
    axes.set_title(
        f"{groups[0].card.name}; black: and peak in registers, copies in its memory", fontsize=9
    )
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=_DPI)


def write_report(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Write the tables as Markdown, and the chart."""
    text, chart = folder / "report.md", folder / "roofline.png"
    tables = [sheet.to_markdown() for sheet in sheets(groups)]
    write_atomically(text, "\n".join([f"{describe(groups)}\n", *tables]).encode())
    draw_roofline(groups, chart)
    return [text, chart]


def describe(groups: Sequence[Group]) -> str:
    """Name the cards and what ran on them."""
    cards = [group.card for group in groups]
    said = [
        ", ".join([card.name, card.target, *(f"{n} {v}" for n, v in card.versions.items())])
        for card in cards
    ]
    return "; ".join(dict.fromkeys(said))


def _of_peak(group: Group | None) -> float | None:
    if group is None:
        return None
    return group.operations / group.spread(group.fastest).median / group.peak


def _over_peer(name: str, group: Group | None, limit: float) -> Bar:
    return Bar(name, limit, True, group.peer_over(group.fastest) if group else None)


def _group_sheet(groups: Sequence[Group]) -> Sheet:
    rows = [
        (group.title, label, *_figures(group, label))
        for group in groups
        for label in group.seconds
        if label not in LIMITS
    ]
    rows += [(g.title, label, "wrong numbers", *[""] * 5) for g in groups for label in g.wrong]
    columns = ("what", "by", "time", "quartiles", "TOPS", "of peak", "GB/s", "peer / ours")
    return Sheet("Products, layers and networks", columns, rows)


def _figures(group: Group, label: str) -> tuple[str, ...]:
    spread = group.spread(label)
    is_ours, has_peer = label != PEER, PEER in group.seconds
    return (
        format_seconds(spread.median),
        f"{format_seconds(spread.lower_quartile)} - {format_seconds(spread.upper_quartile)}",
        *_rates(group, group.operations, group.nbytes if is_ours else 0, spread.median),
        f"{group.peer_over(label):.2f}" if is_ours and has_peer else "",
    )


def _rates(
    group: Group, operations: int, nbytes: int, seconds: float, on_bits: bool = True
) -> tuple[str, str, str]:
    """Say operations a second, their share of the peak of bits, and bytes a second."""
    rate = operations / seconds
    return (
        f"{rate / 1e12:.1f}" if operations else "",
        f"{rate / group.peak:.0%}" if operations and on_bits else "",
        f"{nbytes / seconds / 1e9:.0f}" if nbytes else "",
    )


def _kernel_sheet(group: Group) -> Sheet:
    whole = sum(kernel.total for kernel in group.kernels)
    kernels = sorted(group.kernels, key=lambda kernel: -kernel.total)
    long = [kernel for kernel in kernels if kernel.total >= _LONG * whole]
    rest = whole - sum(kernel.total for kernel in long)
    rows = [_kernel_row(group, kernel, whole) for kernel in long]
    rows.append((f"{len(kernels) - len(long)} others", *[""] * 6, f"{rest / whole:.1%}"))
    columns = ("kernel", "calls", "time", "bytes", "TOPS", "of and peak", "GB/s", "share")
    title = f"Kernels of {group.title}, each alone: {format_seconds(whole)}"
    return Sheet(title, columns, rows)


def _kernel_row(group: Group, kernel: KernelTime, whole: float) -> tuple[str, ...]:
    operations = 2 * kernel.macs
    return (
        kernel.name,
        str(kernel.uses),
        format_seconds(kernel.seconds),
        f"{kernel.nbytes:,}",
        *_rates(group, operations, kernel.nbytes, kernel.seconds, kernel.binary),
        f"{kernel.total / whole:.1%}",
    )


def _points(group: Group) -> Iterator[tuple[float, float]]:
    """List operations a byte and a second of what counts bits."""
    if group.operations:
        seconds = group.spread(group.fastest).median
        yield group.operations / group.nbytes, group.operations / seconds
    for kernel in group.kernels:
        if kernel.binary:
            operations = 2 * kernel.macs
            yield operations / kernel.nbytes, operations / kernel.seconds
