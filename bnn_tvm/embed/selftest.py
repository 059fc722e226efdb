"""Record what a network gives for some input, for a library's self-test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.ir import IRModule

from ..package.manifest import TensorInfo
from ..target import Target

# Inputs are recorded as bytes that are divided by this: exact in float32 and small in a file.
INPUT_SCALE = 32
# Numbers that are recorded; inputs repeat them. A prime: rows of images do not repeat each other.
_PATTERN_LENGTH = 4093

# Share of the largest output by which rounding may change outputs.
_TOLERANCE = 1e-4
# Processors that sum in another order differ by about this share of a number.
_ROUNDING = 2.0**-21
# A sign so close to 0 that rounding turns it changes outputs far more than rounding itself.
_MOST_TRIALS = 8

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Recording:
    """Inputs and what the network gives for them.

    Attributes
    ----------
    pattern : np.ndarray
        int8; divided by `INPUT_SCALE` and repeated, the numbers of all inputs one after the other.
    outputs : tuple of np.ndarray
        float32.
    tolerance : float
        Largest difference between outputs of machines that round differently.
    """

    pattern: np.ndarray
    outputs: Arrays
    tolerance: float


def record(mod: IRModule, target: Target, inputs: Sequence[TensorInfo]) -> Recording:
    """Run a scheduled module on this machine, on an input that leads to no doubtful sign.

    Parameters
    ----------
    mod : IRModule
        Scheduled for `target`, which this machine can run.
    target : Target
    inputs : sequence of TensorInfo
        Of ``main``, in order.
    """
    run = _load(mod, target)
    trials = [_record(run, inputs, np.random.default_rng(0))]
    while trials[-1][1] > trials[-1][0].tolerance and len(trials) < _MOST_TRIALS:
        trials.append(_record(run, inputs, np.random.default_rng(len(trials))))
    recording, difference = min(trials, key=lambda trial: trial[1] / trial[0].tolerance)
    tolerance = max(recording.tolerance, 2 * difference)
    return Recording(recording.pattern, recording.outputs, tolerance)


def _record(
    run: Callable[[Sequence[np.ndarray]], Arrays],
    inputs: Sequence[TensorInfo],
    generator: np.random.Generator,
) -> tuple[Recording, float]:
    """Record one input, and find by how much outputs change if it is rounded differently."""
    pattern = _draw(generator)
    arrays = _spread(pattern, inputs)
    outputs = run(arrays)
    rounded = run([x * (1 + _ROUNDING * generator.choice((-1, 1), x.shape)) for x in arrays])
    difference = max(float(np.abs(a - b).max()) for a, b in zip(outputs, rounded, strict=True))
    largest = max(float(np.abs(output).max()) for output in outputs)
    return Recording(pattern, outputs, _TOLERANCE * largest), difference


def _draw(generator: np.random.Generator) -> np.ndarray:
    """Draw numbers of about standard deviation 1 when divided by `INPUT_SCALE`."""
    drawn = np.round(generator.standard_normal(_PATTERN_LENGTH) * INPUT_SCALE)
    return np.clip(drawn, -127, 127).astype(np.int8)


def _spread(pattern: np.ndarray, inputs: Sequence[TensorInfo]) -> list[np.ndarray]:
    """Make the inputs that a pattern stands for."""
    sizes = [info.nbytes // 4 for info in inputs]
    numbers = np.resize(pattern, sum(sizes)) / INPUT_SCALE
    parts = np.split(numbers.astype(np.float32), np.cumsum(sizes)[:-1])
    return [part.reshape(info.shape) for part, info in zip(parts, inputs, strict=True)]


def _load(mod: IRModule, target: Target) -> Callable[[Sequence[np.ndarray]], Arrays]:
    machine = relax.VirtualMachine(tvm.compile(mod, target=target.to_tvm()), tvm.cpu())

    def run(arrays: Sequence[np.ndarray]) -> Arrays:
        given = [tvm.runtime.tensor(np.asarray(array, np.float32)) for array in arrays]
        result = machine["main"](*given)
        fields = result if isinstance(result, tvm.ir.Array | tuple | list) else [result]
        return tuple(field.numpy() for field in fields)

    return run
