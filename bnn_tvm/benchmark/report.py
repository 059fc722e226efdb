"""Show a benchmark's report as tables for people or as JSON for scripts."""

from __future__ import annotations

import json

from rich.table import Table

from ..package.fields import encode
from .bench import BenchReport, ModelReport
from .condition import Condition
from .layers import KernelReport
from .measure import Spread


def to_json(report: BenchReport) -> str:
    """Write a report as JSON text; seconds, and ratios without unit."""
    return json.dumps(encode(report), indent=1, sort_keys=True) + "\n"


def format_seconds(seconds: float) -> str:
    """Write a time with the unit that gives it one to three digits before the point."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def model_table(report: BenchReport) -> Table:
    """Lay out the whole models' times."""
    facts = report.environment
    gpu = f"{facts.gpu}; " if facts.gpu else ""
    table = Table(
        title=f"{report.name} for {report.target}, {facts.threads} thread(s)",
        caption=f"{gpu}{facts.cpu_model}, {facts.cores} cores; times of one inference, "
        f"{report.model_timing}",
    )
    table.add_column("model", overflow="fold")
    for name in ("median", "quartiles", "minimum", "time / ours", "same class", "max diff"):
        table.add_column(name, justify="right")
    for model in report.models:
        table.add_row(*_model_row(model))
    return table


def _model_row(model: ModelReport) -> tuple[str, ...]:
    return (
        model.label,
        *_time_cells(model.seconds),
        f"{model.speedup.median:.2f}x",
        f"{model.same_class:.0%}",
        f"{model.largest_difference:.2g}",
    )


def _time_cells(seconds: Spread) -> tuple[str, str, str]:
    quartiles = (seconds.lower_quartile, seconds.upper_quartile)
    return (
        format_seconds(seconds.median),
        " - ".join(map(format_seconds, quartiles)),
        format_seconds(seconds.minimum),
    )


def kernel_table(report: BenchReport) -> Table:
    """Lay out the kernels' times."""
    table = Table(title=f"kernels, {report.kernel_timing}")
    table.add_column("kernel", overflow="fold")
    table.add_column("layers", overflow="fold")
    for name in ("kind", "schedule", "MMAC", "calls", "median", "quartiles", "minimum", "GOP/s"):
        table.add_column(name, justify="left" if name in ("kind", "schedule") else "right")
    labels = sorted({label for kernel in report.kernels for label in kernel.speedups})
    for label in labels:
        table.add_column(f"{label} / ours", justify="right")
    for kernel in report.kernels:
        table.add_row(*_kernel_row(kernel, labels))
    return table


def describe_conditions(report: BenchReport) -> list[str]:
    """Say how the numbers were checked, and how warm, fast and full the machine was."""
    lines = []
    if report.check is not None:
        lines.append(
            f"numbers: as {report.check.against} gives them, "
            f"within {report.check.largest_difference:.2g}"
        )
    if report.before is not None and report.after is not None:
        lines.extend(_condition_lines(report.before, report.after))
    return lines


def _condition_lines(before: Condition, after: Condition) -> list[str]:
    """Leave out what the machine does not tell."""
    lines = []
    if before.celsius is not None and after.celsius is not None:
        lines.append(f"temperature: {before.celsius:.1f} -> {after.celsius:.1f} °C")
    if before.megahertz is not None and after.megahertz is not None:
        most = f", at most {after.max_megahertz:.0f}" if after.max_megahertz else ""
        lines.append(f"clock: {before.megahertz:.0f} -> {after.megahertz:.0f} MHz{most}")
    if after.peak_memory_bytes is not None:
        lines.append(f"peak memory of the process: {after.peak_memory_bytes / 2**20:.1f} MiB")
    return lines


def _kernel_row(kernel: KernelReport, labels: list[str]) -> tuple[str, ...]:
    ratios = (kernel.speedups.get(label) for label in labels)
    return (
        kernel.kernel,
        ", ".join(kernel.layers),
        kernel.kind,
        f"{kernel.rule} ({kernel.source})",
        f"{kernel.macs / 1e6:.3g}" if kernel.macs else "",
        str(kernel.calls),
        *_time_cells(kernel.seconds),
        f"{kernel.gops:.3g}" if kernel.macs else "",
        *(f"{ratio.median:.2f}x" if ratio else "" for ratio in ratios),
    )
