"""Compile the shipped LeNet for this machine, binary and in float, and hold both against MXNet.

    python examples/demo_mnist.py --output demo_output

Classifies the 1,000 held-out digits, compares every integer of the binary layers with MXNet's,
times all in turn on one thread at batch 1, prints what it found, and writes the packages, two
pictures and ``report.json``. The exit code is 1 if a number is wrong; a slow machine is no error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

os.environ["OMP_NUM_THREADS"] = "1"  # MXNet reads it when it is imported

import numpy as np
import typer
from rich.console import Console

import bnn_tvm
from bnn_tvm.benchmark.bench import BenchReport, bench
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.cli.tables import make_console
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import InputError, UserError
from bnn_tvm.gluon.baseline import MXNetModel
from bnn_tvm.importer import load_graph
from bnn_tvm.zoo.mnist import Digits, load_digits
from mnist_demo.checks import check_all
from mnist_demo.comparison import INPUT_SHAPE, compare_layers, run_each, run_in_batches
from mnist_demo.findings import Answers, Findings, Network
from mnist_demo.pictures import draw_digits, draw_latency
from mnist_demo.report import print_findings, report_json

MODELS = Path(__file__).parent / "models"


def prepare_network(bits: int, title: str, output: Path) -> Network:
    """Compile a shipped network for this machine, save the package, and load MXNet's twin."""
    symbol = MODELS / f"lenet-{bits}bit-symbol.json"
    params = MODELS / f"lenet-{bits}bit-0000.params"
    start = time.perf_counter()
    package = bnn_tvm.compile(symbol, target="host", input_shape=INPUT_SHAPE)
    seconds = time.perf_counter() - start
    path = output / f"lenet-{bits}bit.bnn"
    package.save(path)
    return Network(title, symbol, params, path, package, MXNetModel(symbol, params), seconds)


def classify(network: Network, digits: Digits) -> Answers:
    """Classify all digits with the package and with MXNet."""
    ours = run_each(network.package.session().run, digits.images)
    return Answers(ours, run_in_batches(network.mxnet, digits.images), digits.labels)


def time_all(binary: Network, full: Network, image: np.ndarray) -> BenchReport:
    """Time both packages and MXNet's runs of both in turn, and each kernel alone."""
    rivals = [full.package_path, full.symbol, binary.symbol]
    device = LocalDevice.detect()
    plan = Plan(rounds=50)
    return bench(binary.package_path, rivals, device, per_layer=True, inputs=[image], plan=plan)


def find_all(output: Path, digits: Digits, begin: Callable[[str], None]) -> Findings:
    """Do everything that takes time; `begin` hears of each part."""
    begin("compiling the binary and the float LeNet")
    binary = prepare_network(1, "binary LeNet", output)
    full = prepare_network(32, "float LeNet", output)
    begin(f"classifying {len(digits.labels)} digits")
    answers = (classify(binary, digits), classify(full, digits))
    begin("comparing the binary layers with MXNet's")
    graph = load_graph(binary.symbol, binary.params)
    matches, clear = compare_layers(graph, binary.mxnet, digits.images)
    begin("timing, one thread")
    report = time_all(binary, full, digits.images[:1])
    predictions = [logits.argmax(1)[clear] for logits in (answers[0].ours, answers[0].theirs)]
    agreeing = bool(np.array_equal(*predictions))
    return Findings((binary, full), answers, tuple(matches), agreeing, report)


def make_folder(path: Path) -> None:
    """Make the folder of the output, with those above it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"no folder {path} ({error.strerror}); choose another --output") from error


def run_demo(output: Path, console: Console) -> bool:
    """Do, print and write everything; return whether all numbers are right."""
    make_folder(output)
    _, held_out = load_digits()
    with console.status("") as status:
        found = find_all(output, held_out, status.update)
    checks = check_all(found)
    print_findings(console, found, checks)
    (output / "digits.png").write_bytes(draw_digits(held_out, found.answers[0].ours))
    (output / "latency.png").write_bytes(draw_latency(found.report))
    (output / "report.json").write_text(report_json(found, checks), encoding="utf-8")
    console.print(f"\nWrote both packages, digits.png, latency.png and report.json to {output}")
    return all(check.passed for check in checks if check.numbers)


def main(
    output: Annotated[Path, typer.Option(help="Folder for what is written.")] = Path("demo_output"),
) -> None:
    """Compile, classify, compare, time; exit with 1 if a number is wrong."""
    console = make_console()
    try:
        is_right = run_demo(output, console)
    except UserError as error:
        console.print(f"error: {error}")
        raise typer.Exit(error.exit_code) from error
    raise typer.Exit(0 if is_right else 1)


if __name__ == "__main__":
    typer.run(main)
