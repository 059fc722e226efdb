"""The outputs that a package must give, whichever machine it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DeviceError
from ..package import Package
from ..runtime import Session
from .bench import named_inputs
from .contestants import Outputs


@dataclass(frozen=True)
class Expected:
    """Inputs and the outputs that belong to them.

    Attributes
    ----------
    inputs, outputs : tuple of np.ndarray
    source : str
        What gave the outputs, in words.
    tolerance : float
        Difference that rounding explains; 0 if it is not known.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: Outputs
    source: str
    tolerance: float = 0.0


def expected_outputs(
    package: Package, inputs: Sequence[np.ndarray] | None, reference: Package | None
) -> Expected:
    """Run a package on this machine, or another one of the same model, or look at its self-test.

    Parameters
    ----------
    package : Package
    inputs : sequence of np.ndarray or None
        In the order of the manifest; if there are none, random ones, or those of the self-test if
        this machine can run nothing.
    reference : Package or None
        What to run if this machine cannot run `package`; it is run in any case if it is given.

    Raises
    ------
    DeviceError
        If this machine can run neither, and the self-test is not meant or not there.
    """
    try:
        session = Session(reference or package)
    except DeviceError as exc:
        return _recorded(package, inputs, reference, exc)
    values = named_inputs(package, inputs)
    result = session.run(values)
    outputs = result if isinstance(result, tuple) else (result,)
    made_of = "the same package" if reference is None else "the reference"
    return Expected(tuple(values.values()), outputs, f"{made_of} on this machine")


def _recorded(
    package: Package,
    inputs: Sequence[np.ndarray] | None,
    reference: Package | None,
    exc: DeviceError,
) -> Expected:
    """Take the self-test of a package, unless another check was asked for."""
    recording = package.recording
    if recording is None or inputs is not None or reference is not None:
        raise type(exc)(
            f"numbers cannot be checked here ({exc}); name the model, or a package of it for "
            "this machine, with --reference, or leave out --input"
        ) from exc
    given = recording.inputs(package.manifest.inputs)
    return Expected(given, recording.outputs, "its self-test", recording.tolerance)
