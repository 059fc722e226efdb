"""What the training script shows."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bnn_tvm.zoo.summary import LayerSummary, NetworkSummary
from training.checkpoints import Progress as TrainingProgress
from training.loop import Training, Watcher

_MEBIBYTE = 2**20


def print_summary(console: Console, summary: NetworkSummary) -> None:
    """Print one row for each layer with parameters, and the totals."""
    table = Table(title="Parameters and multiply-accumulates (MACs) of one image")
    table.add_column("layer", overflow="fold")
    for heading in ("kind", "output"):
        table.add_column(heading)
    for heading in ("bits", "low-bit weights", "32-bit numbers", "MACs"):
        table.add_column(heading, justify="right")
    for layer in summary.layers:
        table.add_row(*_cells(layer))
    console.print(table)
    console.print(
        f"1-bit parameters {summary.binary_parameters:,}, 32-bit parameters "
        f"{summary.full_precision_parameters:,}, together {summary.bytes / _MEBIBYTE:.2f} MiB\n"
        f"1-bit MACs {summary.binary_macs:,}, MACs of other convolutions "
        f"{summary.convolution_macs:,}, equivalent FLOPs {summary.flops:,.0f}"
    )


def _cells(layer: LayerSummary) -> list[str]:
    output = "x".join(map(str, layer.output_shape[1:]))
    counts = (layer.weights, layer.full_precision, layer.macs)
    numbers = (f"{count:,}" if count else "" for count in counts)
    bits = str(layer.weight_bits) if layer.macs else ""
    return [layer.name, layer.kind, output, bits, *numbers]


def train_with_progress(training: Training, console: Console) -> None:
    """Train with a bar, and print one line for each epoch."""
    epochs, steps = training.settings.epochs, training.steps_per_epoch
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        done = training.progress.finished_epochs * steps
        task = bars.add_task("training", total=epochs * steps, completed=done)

        def on_step(step: int, loss: float) -> None:
            bars.update(task, completed=step, description=f"loss {loss:.4f}")

        def on_epoch(progress: TrainingProgress) -> None:
            bars.console.print(describe_epoch(progress, epochs))

        training.run(Watcher(on_step, on_epoch))


def describe_epoch(progress: TrainingProgress, epochs: int) -> str:
    """Return a line about the last epoch."""
    last = progress.history[-1]
    validation = last["validation"]
    accuracy = "" if validation is None else f", validation {validation:.4f}"
    best = " (best)" if progress.best_epoch == progress.finished_epochs else ""
    return f"epoch {last['epoch']}/{epochs}: loss {last['loss']:.4f}{accuracy}{best}"
