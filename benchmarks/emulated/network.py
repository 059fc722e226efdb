"""What a whole network executes on an emulated processor, kernel by kernel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnn_tvm.compiler import Prepared
from bnn_tvm.package.manifest import KernelInfo
from bnn_tvm.passes.dataflow import count_calls
from bnn_tvm.target import Target

from .board import build_kernel
from .kernels import random_inputs

BINARY, FLOAT, OTHER = PARTS = ("binary layers", "float layers", "everything else")
"""Kinds of kernel."""


@dataclass(frozen=True)
class Executed:
    """What one kernel executes in one inference.

    Attributes
    ----------
    kernel : KernelInfo
    instructions : int
        Of all its calls.
    macs : int
        Of all its calls; 0 if it is no layer.
    """

    kernel: KernelInfo
    instructions: int
    macs: int

    @property
    def part(self) -> str:
        """Say which of three parts of a network it belongs to."""
        if not self.macs:
            return OTHER
        return BINARY if self.kernel.binary else FLOAT


def count_network(prepared: Prepared, target: Target) -> Iterator[Executed]:
    """Count what each kernel of a network executes, on random numbers, in order of first use.

    Parameters
    ----------
    prepared : Prepared
        The network, scheduled for the target.
    target : Target
        One that there is an emulator for.
    """
    infos = {kernel.name: kernel for kernel in prepared.manifest.kernels}
    for name, calls in count_calls(prepared.scheduled).items():
        kernel = infos[name]
        func = prepared.scheduled[name]
        inputs = len(func.params) - kernel.num_outputs
        with tempfile.TemporaryDirectory(prefix="bnn_emulated_") as folder:
            program = build_kernel(func, target, inputs, Path(folder))
            executed = program.count_instructions(random_inputs(func.params[:inputs]))
        yield Executed(kernel, executed * calls, kernel.macs * calls)
