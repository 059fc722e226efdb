"""Record what a network gives for some input, for a package's self-test."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import relax

from .package.manifest import TensorInfo
from .package.recording import INPUT_SCALE, Arrays, Recording, spread
from .runtime import Session, use_threads

Run = Callable[[Sequence[np.ndarray]], Arrays]

# Numbers that are recorded; inputs repeat them. A prime: rows of images do not repeat each other.
_PATTERN_LENGTH = 1021

# Share of the largest output by which rounding may change outputs.
_TOLERANCE = 1e-4
# Processors that sum in another order differ by about this share of a number.
_ROUNDING = 2.0**-21
# A sign so close to 0 that rounding turns it changes outputs far more than rounding itself.
_MOST_TRIALS = 8


def record(run: Run, inputs: Sequence[TensorInfo]) -> Recording:
    """Run a network on this machine, on an input that leads to no doubtful sign.

    Parameters
    ----------
    run : callable
        The network, from inputs to outputs.
    inputs : sequence of TensorInfo
        Its inputs, in order.
    """
    trials = [_record(run, inputs, np.random.default_rng(0))]
    while trials[-1][1] > trials[-1][0].tolerance and len(trials) < _MOST_TRIALS:
        trials.append(_record(run, inputs, np.random.default_rng(len(trials))))
    recording, difference = min(trials, key=_doubt)
    tolerance = max(recording.tolerance, 2 * difference)
    return Recording(recording.pattern, recording.outputs, tolerance)


def open_session(session: Session) -> Run:
    """Make what `record` runs of a session."""

    def run(arrays: Sequence[np.ndarray]) -> Arrays:
        result = session.run(*arrays)
        return result if isinstance(result, tuple) else (result,)

    return run


def open_executable(executable: relax.VMExecutable) -> Run:
    """Make what `record` runs of a module that TVM compiled for this machine."""
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]

    def run(arrays: Sequence[np.ndarray]) -> Arrays:
        use_threads(1)
        result = main(*map(tvm.runtime.tensor, arrays))
        fields = result if isinstance(result, tvm.ir.Array | tuple | list) else [result]
        return tuple(field.numpy() for field in fields)

    return run


def _doubt(trial: tuple[Recording, float]) -> float:
    recording, difference = trial
    return difference / recording.tolerance if difference else 0.0


def _record(
    run: Run, inputs: Sequence[TensorInfo], generator: np.random.Generator
) -> tuple[Recording, float]:
    """Record one input, and find by how much outputs change if it is rounded differently."""
    pattern = _draw(generator)
    arrays = spread(pattern, inputs)
    outputs = run(arrays)
    rounded = run([_round_differently(array, generator) for array in arrays])
    difference = max(_difference(a, b) for a, b in zip(outputs, rounded, strict=True))
    largest = max(_difference(output, np.zeros_like(output)) for output in outputs)
    return Recording(pattern, outputs, _TOLERANCE * largest), difference


def _draw(generator: np.random.Generator) -> np.ndarray:
    """Draw numbers of about standard deviation 1 when divided by `INPUT_SCALE`."""
    drawn = np.round(generator.standard_normal(_PATTERN_LENGTH) * INPUT_SCALE)
    return np.clip(drawn, -127, 127).astype(np.int8)


def _round_differently(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    changed = array * (1 + _ROUNDING * generator.choice((-1, 1), array.shape))
    return changed.astype(array.dtype)


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Find the largest difference where both numbers are finite."""
    with np.errstate(invalid="ignore"):
        gaps = np.abs(one.astype(np.float64) - other)
    return float(gaps[np.isfinite(gaps)].max(initial=0.0))
