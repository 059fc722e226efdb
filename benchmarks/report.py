"""Shows results as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from bnn_tvm.benchmark.measure import Spread
from bnn_tvm.benchmark.report import format_seconds

from .cases import BLOCKS
from .figures import Results, block_figures


def tables(results: Results) -> list[Table]:
    """Lay out everything that was measured."""
    return [table for table in (peak_table(results), block_table(results)) if table.row_count]


def peak_table(results: Results) -> Table:
    """Lay out the machine's peaks."""
    table = _table("peaks of one core", "peak", ("10^9/s", "quartiles"))
    for name, samples in results["peaks"].rates.items() if "peaks" in results else ():
        rate = Spread.of(samples)
        quartiles = f"{rate.lower_quartile / 1e9:.4g} - {rate.upper_quartile / 1e9:.4g}"
        table.add_row(name, f"{rate.median / 1e9:.4g}", quartiles)
    return table


def block_table(results: Results) -> Table:
    """Lay out blocks against OpenVINO's."""
    columns = ("ours", "OpenVINO", "OpenVINO / ours", "quartiles", "GOP/s", "of peak", "max diff")
    table = _table("blocks in a chain: sign, convolution, BN, add", "block", columns)
    for block in BLOCKS:
        if figures := block_figures(results, block):
            table.add_row(
                block.name,
                format_seconds(figures.ours.median),
                format_seconds(figures.openvino.median),
                *_ratio_cells(figures.speedup),
                f"{figures.gops:.0f}",
                f"{figures.of_peak:.1%}",
                f"{figures.difference:.1g}",
            )
    return table


def _ratio_cells(ratio: Spread) -> tuple[str, str]:
    quartiles = f"{ratio.lower_quartile:.2f} - {ratio.upper_quartile:.2f}"
    return f"{ratio.median:.2f}x", quartiles


def _table(title: str, first: str, columns: Iterable[str]) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table
