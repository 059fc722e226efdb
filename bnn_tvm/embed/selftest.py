"""Record what a network gives for some input, for a library's self-test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule

from ..package.manifest import TensorInfo
from ..target import Target

# Inputs are recorded as bytes that are divided by this: exact in float32 and small in a file.
INPUT_SCALE = 32

# Share of the largest output by which rounding may change outputs.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Recording:
    """Inputs and what the network gives for them.

    Attributes
    ----------
    inputs : tuple of np.ndarray
        int8; the numbers divided by `INPUT_SCALE` are the input.
    outputs : tuple of np.ndarray
        float32.
    tolerance : float
        Largest difference between outputs of machines that round differently.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]
    tolerance: float


def record(mod: IRModule, target: Target, inputs: Sequence[TensorInfo]) -> Recording:
    """Run a scheduled module on this machine.

    Parameters
    ----------
    mod : IRModule
        Scheduled for `target`, which this machine can run.
    target : Target
    inputs : sequence of TensorInfo
        Of ``main``, in order.
    """
    generator = np.random.default_rng(0)
    recorded = tuple(_draw(generator, info.shape) for info in inputs)
    outputs = _run(mod, target, [(x / INPUT_SCALE).astype(np.float32) for x in recorded])
    largest = max(float(np.abs(output).max()) for output in outputs)
    return Recording(recorded, outputs, _TOLERANCE * largest)


def _draw(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw numbers of about standard deviation 1 when divided by `INPUT_SCALE`."""
    drawn = np.round(generator.standard_normal(shape) * INPUT_SCALE)
    return np.clip(drawn, -127, 127).astype(np.int8)


def _run(mod: IRModule, target: Target, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    machine = relax.VirtualMachine(tvm.compile(mod, target=target.to_tvm()), tvm.cpu())
    result = machine["main"](*(tvm.runtime.tensor(x) for x in inputs))
    fields = result if isinstance(result, tvm.ir.Array | tuple | list) else [result]
    return tuple(field.numpy() for field in fields)
