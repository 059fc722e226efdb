"""The outputs that a package must give, whichever machine it runs on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..device import LocalDevice
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


def expected_outputs(package: Package, inputs: Mapping[str, np.ndarray]) -> Expected:
    """Run a package on this machine.

    Raises
    ------
    DeviceError
        If this machine cannot run it.
    """
    machine = LocalDevice.detect()
    machine.check_runs(package.manifest.target)
    result = Session(package, 1, machine).run(*inputs.values())
    outputs = result if isinstance(result, tuple) else (result,)
    return Expected(tuple(inputs.values()), outputs, "the same package on this machine")
