"""Tables that several subcommands print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from ..package.manifest import KernelInfo, LayerInfo
    from ..package.summary import Summary

# What a table gets where there is no terminal to fill: scripts and files want whole cells.
_PLAIN_WIDTH = 180


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
    """Print the layers and, below them, the sizes."""
    console = make_console()
    console.print(layer_table(summary))
    console.print(
        f"{summary.lowered} of {len(summary.layers)} layers run on bits; "
        f"package {format_bytes(summary.package_bytes)}; "
        f"weights {format_bytes(summary.weight_bytes)} "
        f"(float32: {format_bytes(summary.float_weight_bytes)})"
    )


def layer_table(summary: Summary) -> Table:
    """Lay out what became of each layer, and why."""
    table = Table(title=f"{summary.name} for {summary.target.id}")
    for name in ("layer", "lowered", "bits", "input -> output", "padding"):
        table.add_column(name, overflow="fold")
    table.add_column("MMAC", justify="right")
    table.add_column("weights", justify="right")
    for name in ("kernel", "schedule", "epilogue"):
        table.add_column(name, overflow="fold")
    kernels = {kernel.name: kernel for kernel in summary.kernels}
    for layer in summary.layers:
        table.add_row(*_layer_row(layer, kernels.get(layer.kernel)))
    return table


def _layer_row(layer: LayerInfo, kernel: KernelInfo | None) -> tuple[str, ...]:
    return (
        layer.name,
        "yes" if layer.lowered else f"no: {layer.reason}",
        f"{layer.weight_bits} x {layer.activation_bits}",
        f"{_extents(layer.input_shape)} -> {_extents(layer.output_shape)}",
        layer.padding,
        f"{layer.macs / 1e6:.3g}",
        format_bytes(layer.weight_bytes),
        kernel.kind if kernel else "",
        f"{kernel.rule} ({kernel.source})" if kernel else "",
        layer.epilogue,
    )


def _extents(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
