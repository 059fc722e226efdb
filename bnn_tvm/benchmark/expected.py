"""The outputs that a package must give, whichever machine it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..device import LocalDevice
from ..errors import WrongArchitectureError
from ..package import Package
from ..runtime import Session
from .contestants import Outputs


@dataclass(frozen=True)
class Expected:
    """Inputs and the outputs that belong to them.

    Attributes
    ----------
    inputs, outputs : tuple of np.ndarray
    source : str
        What gave the outputs, in words.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: Outputs
    source: str


def expected_outputs(
    package: Package, inputs: Mapping[str, np.ndarray], reference: Package | None
) -> Expected:
    """Run a package on this machine, or another one of the same model.

    Parameters
    ----------
    package : Package
    inputs : mapping of str to np.ndarray
        By the names in the manifest.
    reference : Package or None
        What to run if this machine cannot run `package`; it is run in any case if it is given.

    Raises
    ------
    WrongArchitectureError
        If this machine can run neither.
    """
    machine = LocalDevice.detect()
    _check_runs(reference or package, machine)
    result = Session(reference or package, 1, machine).run(inputs)
    outputs = result if isinstance(result, tuple) else (result,)
    made_of = "the same package" if reference is None else "the reference"
    return Expected(tuple(inputs.values()), outputs, f"{made_of} on this machine")


def _check_runs(package: Package, machine: LocalDevice) -> None:
    try:
        machine.check_runs(package.manifest.target)
    except WrongArchitectureError as exc:
        raise WrongArchitectureError(
            f"numbers cannot be checked here ({exc}); or name the model, or a package of it for "
            "this machine, with --reference"
        ) from exc
