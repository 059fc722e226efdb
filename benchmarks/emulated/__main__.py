"""The command ``python -m benchmarks.emulated``: instructions and model cycles on ARM."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from bnn_tvm.schedules import schedule_kernel
from rich.console import Console
from rich.table import Table
from tvm import tirx

from bnn_tvm.compiler import prepare
from bnn_tvm.target import Target, get_target
from bnn_tvm.zoo import get_model

from .board import build_kernel
from .inner_loop import find_inner_loop
from .kernels import (
    IMAGE,
    Layer,
    binary_layer,
    count_inputs,
    float_dense,
    float_layer,
    packing,
    random_inputs,
)
from .network import PARTS, Executed, count_network

app = typer.Typer()

_BINARY = (Layer(56, 64), Layer(28, 128), Layer(14, 256), Layer(7, 512))
# Float layers: output, inputs, kernel, stride.
_FLOAT = (
    (Layer(112, 64), IMAGE, 7, 2),
    (Layer(32, 64), IMAGE, 3, 1),
    (Layer(28, 128), 64, 1, 1),
    (Layer(14, 256), 128, 1, 1),
    (Layer(7, 512), 256, 1, 1),
    (Layer(28, 128), 64, 3, 1),
)
_DENSE = (512, 1000)
_BITS_OF_REGISTER = 128
_FLOATS_OF_REGISTER = 4


@dataclass(frozen=True)
class Case:
    """A kernel and what its instructions are counted by.

    Attributes
    ----------
    name : str
    func : tirx.PrimFunc
        Not yet scheduled.
    units : float
        What one call computes, in registers full of it.
    mnemonic : str
        The instruction that computes a register full; the inner loop is the one that has most.
    """

    name: str
    func: tirx.PrimFunc
    units: float
    mnemonic: str


def _cases(target: Target) -> list[Case]:
    cases = []
    is_32_bit = target.architecture == "arm"
    count, multiply = ("vcnt.8", "vmla.f32") if is_32_bit else ("cnt", "fmla")
    for layer in _BINARY:
        for with_signs in (False, True):
            name = f"binary 3x3, {layer}" + (", add, signs" if with_signs else "")
            func = binary_layer(layer, with_signs, target)
            cases.append(Case(name, func, layer.macs / _BITS_OF_REGISTER, count))
    for layer, inputs, kernel, stride in _FLOAT:
        name = f"float {kernel}x{kernel}, stride {stride}, {inputs} to {layer}"
        multiplied = inputs * kernel**2 * layer.size**2 * layer.channels / _FLOATS_OF_REGISTER
        func = float_layer(layer, inputs, kernel, stride, target)
        cases.append(Case(name, func, multiplied, multiply))
    inputs, outputs = _DENSE
    name, multiplied = f"float dense, {inputs} to {outputs}", inputs * outputs / _FLOATS_OF_REGISTER
    cases.append(Case(name, float_dense(inputs, outputs, target), multiplied, multiply))
    packed = Layer(56, 64)
    floats = packed.size**2 * packed.channels
    cases.append(Case("packing, per float", packing(packed, target), floats, "ushl"))
    return cases


@dataclass(frozen=True)
class Figures:
    """What was found for a case.

    Attributes
    ----------
    instructions, cycles : float
        Executed for each unit by a call, and in the model of the processor by the inner loop.
    stack_accesses : int
        In the inner loop.
    rule : str
    """

    instructions: float
    cycles: float
    stack_accesses: int
    rule: str


def _measure(case: Case, target: Target, folder: Path) -> Figures:
    scheduled = schedule_kernel(case.func, target)
    kernel = build_kernel(scheduled.func, target, count_inputs(case.func), folder)
    executed = kernel.count_instructions(random_inputs(case.func.params[: count_inputs(case.func)]))
    loop = find_inner_loop(kernel.assembly, case.mnemonic)
    units = loop.count(case.mnemonic)
    cycles = loop.cycles(target) / units if units else float("nan")
    return Figures(executed / case.units, cycles, loop.stack_accesses, scheduled.rule)


Targets = Annotated[list[str], typer.Argument(help="Ids of targets.")]


@app.command()
def kernels(
    targets: Targets,
    only: Annotated[str, typer.Option(help="Cases whose name holds this text.")] = "",
) -> None:
    """Count what kernels execute on emulated processors, for each register full of operands."""
    console = Console()
    for name in targets:
        target = get_target(name)
        table = Table(title=name)
        for column in ("kernel", "instructions", "inner loop, cycles", "stack", "rule"):
            table.add_column(column)
        for case in (case for case in _cases(target) if only in case.name):
            with tempfile.TemporaryDirectory(prefix="bnn_emulated_") as folder:
                found = _measure(case, target, Path(folder))
            row = (f"{found.instructions:.3f}", f"{found.cycles:.3f}", str(found.stack_accesses))
            table.add_row(case.name, *row, found.rule)
        console.print(table)


@app.command()
def network(
    targets: Targets,
    model: Annotated[str, typer.Option(help="A network of the zoo.")] = "resnete18",
    size: Annotated[int, typer.Option(help="Of its images.")] = 224,
) -> None:
    """Count what one inference executes, by kinds of kernel."""
    net = get_model(model)
    net.initialize()
    for name in targets:
        prepared = prepare(net, target=name, input_shape=(1, 3, size, size))
        _print_network(list(count_network(prepared, get_target(name))), f"{model} on {name}")


def _print_network(found: list[Executed], title: str) -> None:
    table = Table(title=title)
    for column in ("kernel", "output", "millions", "per 128 MACs", "rule"):
        table.add_column(column)
    for one in found:
        shape = "x".join(map(str, one.kernel.arguments[-one.kernel.num_outputs].shape))
        table.add_row(one.kernel.kind, shape, *_totals([one]), one.kernel.rule)
    table.add_section()
    everything = sum(one.instructions for one in found)
    for part in PARTS:
        members = [one for one in found if one.part == part]
        share = sum(one.instructions for one in members) / everything
        table.add_row(part, "", *_totals(members), f"{share:.1%} of all")
    Console().print(table)


def _totals(kernels: list[Executed]) -> tuple[str, str]:
    """Give the instructions in millions, and for each 128 multiply-accumulates."""
    instructions = sum(one.instructions for one in kernels)
    registers = sum(one.macs for one in kernels) / _BITS_OF_REGISTER
    return f"{instructions / 1e6:.2f}", f"{instructions / registers:.3f}" if registers else ""


if __name__ == "__main__":
    app()
