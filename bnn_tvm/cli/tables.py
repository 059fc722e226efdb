"""Tables that several subcommands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..package.manifest import KernelInfo, LayerInfo
    from ..package.precision import PrecisionInfo
    from ..package.summary import Summary

# What a table gets where there is no terminal to fill: scripts and files want whole cells.
_PLAIN_WIDTH = 240


def make_console() -> Console:
    """Open standard output for tables."""
    # Names of layers may hold brackets, which are not markup.
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def format_bytes(count: int) -> str:
    """Write a size in B, KiB or MiB."""
    if count < 1 << 10:
        return f"{count} B"
    if count < 1 << 20:
        return f"{count / (1 << 10):.1f} KiB"
    return f"{count / (1 << 20):.1f} MiB"


def print_summary(summary: Summary) -> None:
    """Print the layers and, below them, why some are not lowered, and the totals."""
    console = make_console()
    console.print(layer_table(summary))
    for number, reason in enumerate(_reasons(summary), 1):
        console.print(f"  no {number}: {reason}")
    console.print(totals_table(summary))
    if summary.precision.changes:
        console.print(layer_precision_table(summary.precision))
        console.print(precision_table(summary.precision))


def layer_precision_table(precision: PrecisionInfo) -> Table:
    """Lay out what each layer got of a lower precision, and why."""
    title = f"layers that do not run on bits, in {precision.float_layers} where that gains"
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in ("layer", "precision", "why"):
        table.add_column(name, overflow="fold")
    for layer in precision.layers:
        table.add_row(layer.layer, layer.precision, layer.reason)
    return table


def precision_table(precision: PrecisionInfo) -> Table:
    """Lay out what running float layers in lower precision changes."""
    title = f"float layers in {precision.float_layers}, against float32, on {precision.data}"
    table = Table(title=title, box=SIMPLE_HEAD)
    for name in ("output", "largest change", "mean change", "same top-1"):
        table.add_column(name, overflow="fold")
    for change in precision.changes:
        table.add_row(
            change.name,
            f"{change.largest_absolute:.3g} ({change.largest_relative:.2%} of the largest value)",
            f"{change.mean_absolute:.3g} ({change.mean_relative:.2%} of the mean value)",
            f"{change.same_top1} of {change.rows}" if change.rows else "",
        )
    return table


def layer_table(summary: Summary) -> Table:
    """Lay out what became of each layer."""
    table = Table(title=f"{summary.name} for {summary.target.id}", box=SIMPLE_HEAD)
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    table.add_column("bits w x a")
    table.add_column("input -> output")
    table.add_column("padding")
    table.add_column("MMAC", justify="right")
    table.add_column("weights", justify="right")
    table.add_column("lowered")
    for name in ("kernel", "schedule", "epilogue"):
        table.add_column(name, overflow="fold")
    kernels = {kernel.name: kernel for kernel in summary.kernels}
    reasons = _reasons(summary)
    for layer in summary.layers:
        lowered = "yes" if layer.lowered else f"no {reasons.index(layer.reason) + 1}"
        table.add_row(*_layer_row(layer, kernels.get(layer.kernel), lowered))
    return table


def _reasons(summary: Summary) -> list[str]:
    """List the reasons why layers are not lowered, each once, in order of appearance."""
    return list(dict.fromkeys(layer.reason for layer in summary.layers if not layer.lowered))


def _layer_row(layer: LayerInfo, kernel: KernelInfo | None, lowered: str) -> tuple[str, ...]:
    return (
        layer.name,
        f"{layer.op} {_extents(layer.weight_shape)}",
        f"{layer.weight_bits} x {layer.activation_bits}",
        f"{_extents(layer.input_shape)} -> {_extents(layer.output_shape)}",
        layer.padding,
        f"{layer.macs / 1e6:.3g}",
        format_bytes(layer.weight_bytes),
        lowered,
        kernel.kind if kernel else "",
        f"{kernel.rule} ({kernel.source})" if kernel else "",
        layer.epilogue,
    )


def totals_table(summary: Summary) -> Table:
    """Lay out parameters, MACs and sizes, and say what counts."""
    table = Table(box=None, show_header=False)
    for _ in range(3):
        table.add_column()
    for row in _totals_rows(summary):
        table.add_row(*row)
    return table


def _totals_rows(summary: Summary) -> list[tuple[str, str, str]]:
    totals = summary.totals
    parameters = _joined(
        ("of 1 bit", totals.binary_parameters),
        ("of 2 to 8 bits", totals.multibit_parameters),
        ("in bf16 or int8", totals.reduced_parameters),
        ("of 32 bits", totals.full_precision_parameters),
    )
    macs = _joined(
        ("of 1 bit", totals.binary_macs),
        ("of 2 to 8 bits", totals.multibit_macs),
        ("of float convolutions", totals.convolution_macs),
        ("of float dense layers", totals.dense_macs),
    )
    size = None if summary.package_bytes is None else format_bytes(summary.package_bytes)
    return [
        ("layers", f"{summary.lowered} of {len(summary.layers)} run on bits", ""),
        *_batch_rows(summary.images_at_a_time),
        ("parameters", parameters, "without BatchNorm's moving statistics"),
        (
            "size",
            format_bytes(round(totals.parameter_bytes)),
            "each parameter in its bits, as papers count",
        ),
        ("MACs", macs, "by the bits of the weights"),
        (
            "equivalent FLOPs",
            f"{totals.flops:.3e}",
            "1-bit MACs / 64 + other convolutions, as BMXNet v2 counts",
        ),
        (
            "weights",
            f"{format_bytes(summary.weight_bytes)} in the package",
            f"{format_bytes(summary.float_weight_bytes)} as float32",
        ),
        ("package", size or "compile the model to know its size", ""),
    ]


def _batch_rows(images: int) -> list[tuple[str, str, str]]:
    """Say how a batch runs, where that is in parts."""
    note = "all layers before the last dense ones; the cache holds no more"
    return [("batch", f"{images} image(s) at a time", note)] if images else []


def _joined(*counts: tuple[str, int]) -> str:
    return ", ".join(f"{count:,} {of}" for of, count in counts if count) or "none"


def _extents(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
