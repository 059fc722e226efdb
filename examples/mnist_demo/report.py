"""Show what the demo found: tables and verdict for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bnn_tvm.benchmark.bench import ModelReport
from bnn_tvm.benchmark.layers import KernelReport
from bnn_tvm.benchmark.report import format_seconds
from bnn_tvm.cli.tables import format_bytes
from bnn_tvm.package.fields import encode
from bnn_tvm.package.manifest import LayerInfo

from .checks import Check
from .findings import Answers, Findings, Network


def network_table(found: Findings) -> Table:
    """Lay out accuracy, agreement, time and size of the four runs."""
    table = Table(title="1,000 held-out digits; times of one digit, one thread")
    table.add_column("network")
    for name in ("accuracy", "agrees with MXNet", "largest logit gap", "median", "quartiles"):
        table.add_column(name, justify="right")
    table.add_column("time / binary", justify="right")
    table.add_column("size", justify="right")
    for row in network_rows(found):
        table.add_row(*row)
    return table


def network_rows(found: Findings) -> list[tuple[str, ...]]:
    """Make one row for each of the benchmark's models, in its order."""
    (binary, full), (bits, floats) = found.networks, found.answers
    ours, float_ours, float_theirs, theirs = found.report.models
    return [
        _own_row(binary, bits, ours),
        _own_row(full, floats, float_ours),
        _mxnet_row(full, floats, float_theirs),
        _mxnet_row(binary, bits, theirs),
    ]


def _own_row(network: Network, answers: Answers, model: ModelReport) -> tuple[str, ...]:
    return (
        f"{network.title}, compiled",
        f"{answers.accuracy(answers.ours):.3f}",
        f"{answers.agreeing} of {len(answers.labels)}",
        f"{answers.largest_difference:.1e}",
        *_times(model),
        format_bytes(network.package_path.stat().st_size),
    )


def _mxnet_row(network: Network, answers: Answers, model: ModelReport) -> tuple[str, ...]:
    return (
        f"{network.title}, MXNet",
        f"{answers.accuracy(answers.theirs):.3f}",
        "",
        "",
        *_times(model),
        format_bytes(network.params.stat().st_size),
    )


def _times(model: ModelReport) -> tuple[str, str, str]:
    spread = model.seconds
    quartiles = f"{format_seconds(spread.lower_quartile)} - {format_seconds(spread.upper_quartile)}"
    return format_seconds(spread.median), quartiles, f"{model.speedup.median:.1f}x"


def layer_table(found: Findings) -> Table:
    """Lay out what became of each layer of the binary network."""
    package, report = found.networks[0].package, found.report
    table = Table(title="layers of the binary LeNet; each kernel timed alone")
    for name in ("layer", "on bits", "kernel", "schedule", "fused behind it"):
        table.add_column(name, overflow="fold")
    for name in ("MMAC", "weights", "median", "float kernel"):
        table.add_column(name, justify="right")
    kernels = {kernel.kernel: kernel for kernel in report.kernels}
    for layer in package.manifest.layers:
        table.add_row(*_layer_row(layer, kernels[layer.kernel]))
    return table


def _layer_row(layer: LayerInfo, kernel: KernelReport) -> tuple[str, ...]:
    ratio = next(iter(kernel.speedups.values()), None) if kernel.binary else None
    return (
        layer.name,
        "yes" if layer.lowered else f"no: {layer.reason}",
        kernel.kind,
        kernel.rule,
        layer.epilogue,
        f"{layer.macs / 1e6:.2f}",
        format_bytes(layer.weight_bytes),
        format_seconds(kernel.seconds.median),
        f"{ratio.median:.1f}x slower" if ratio else "",
    )


def print_findings(console: Console, found: Findings, checks: Sequence[Check]) -> None:
    """Print both tables, the facts around them, and the verdict."""
    (binary, _), facts = found.networks, found.report.environment
    console.print(network_table(found))
    size, float_size = binary.package_path.stat().st_size, binary.params.stat().st_size
    console.print(
        f"The binary package is {float_size / size:.1f} times smaller than its float parameters. "
        f"It was compiled for {binary.package.manifest.target.id} in "
        f"{binary.compile_seconds:.1f} s, the start of the compiler included."
    )
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    console.print(f"{facts.cpu_model}, {facts.threads} thread of {facts.cores} cores; {versions}\n")
    console.print(layer_table(found))
    for check in checks:
        console.print("✓" if check.passed else "✗", check.text)


def report_json(found: Findings, checks: Sequence[Check]) -> str:
    """Write all figures as JSON; times in seconds."""
    networks = [
        {
            "network": network.title,
            "accuracy": answers.accuracy(answers.ours),
            "mxnet_accuracy": answers.accuracy(answers.theirs),
            "agreeing": answers.agreeing,
            "digits": len(answers.labels),
            "largest_logit_difference": answers.largest_difference,
            "package_bytes": network.package_path.stat().st_size,
            "float_params_bytes": network.params.stat().st_size,
            "compile_seconds": network.compile_seconds,
            "layers": encode(network.package.manifest.layers),
        }
        for network, answers in zip(found.networks, found.answers, strict=True)
    ]
    document = {
        "checks": [asdict(check) for check in checks],
        "networks": networks,
        "binary_layers": [asdict(match) for match in found.matches],
        "benchmark": encode(found.report),
    }
    return json.dumps(document, indent=1) + "\n"
