"""What can be timed: a package, or an exported model that MXNet itself runs."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..device import LocalDevice
from ..errors import InputError, ToolchainError
from ..package import Package
from ..runtime import Session
from .measure import Call

Inputs = dict[str, np.ndarray]
Outputs = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Contestant:
    """Something that maps a package's inputs to outputs.

    Attributes
    ----------
    label : str
        Name in tables; unique in one benchmark.
    session : Session or None
        If it is a package, for its kernels.
    run : callable
        From named inputs to outputs.
    """

    label: str
    session: Session | None
    run: Callable[[Inputs], Outputs]

    def bind(self, inputs: Inputs) -> Call:
        """Prepare what is timed; see `Session.bind_run`."""
        if self.session is not None:
            return self.session.bind_run(list(inputs.values()))
        return functools.partial(self.run, inputs)


def open_package(label: str, package: Package, threads: int, device: LocalDevice) -> Contestant:
    """Make a contestant of a package; see `Session` for the errors."""
    session = Session(package, threads, device)

    def run(inputs: Inputs) -> Outputs:
        result = session.run(*inputs.values())
        return result if isinstance(result, tuple) else (result,)

    return Contestant(label, session, run)


def open_mxnet(label: str, symbol: Path, input_name: str, threads: int) -> Contestant:
    """Make a contestant of ``*-symbol.json`` and the params file beside it, run by MXNet.

    Raises
    ------
    ToolchainError
        If MXNet is not installed, or was imported with another number of threads.
    ModelError
        If the model's files are missing or MXNet does not load them.
    """
    from ..importer.files import find_params

    params = find_params(symbol)
    _set_openmp_threads(threads)
    try:
        from ..gluon.baseline import MXNetModel
    except ModuleNotFoundError as exc:
        raise ToolchainError(
            f"baseline {symbol} needs MXNet, which is not installed; pip install 'bnn_tvm[train]'"
        ) from exc
    model = MXNetModel(symbol, params, input_name)
    return Contestant(label, None, lambda inputs: (model(next(iter(inputs.values()))),))


def open_baseline(
    path: Path, inputs: Inputs, threads: int, device: LocalDevice, label: str
) -> Contestant:
    """Open a package or, if it ends in ``-symbol.json``, a model for MXNet."""
    if path.name.endswith("-symbol.json"):
        return open_mxnet(label, path, next(iter(inputs)), threads)
    return open_package(label, Package.load(path), threads, device)


def random_inputs(package: Package) -> Inputs:
    """Draw inputs for a package: the same numbers every time."""
    return {
        info.name: np.random.default_rng(0).standard_normal(info.shape).astype(info.dtype)
        for info in package.manifest.inputs
    }


def check_outputs(contestant: Contestant, inputs: Inputs) -> Outputs:
    """Run once and refuse outputs that no timing should be spent on.

    Raises
    ------
    InputError
        If an output holds NaN or infinity.
    """
    outputs = contestant.run(inputs)
    if not all(np.isfinite(output).all() for output in outputs):
        raise InputError(
            f"{contestant.label} gives NaN or infinity for this input; "
            "name an input that the model was trained for with --input"
        )
    return outputs


def _set_openmp_threads(threads: int) -> None:
    """Set MXNet's threads, which it reads once, when it is first imported."""
    wanted = str(threads)
    if "mxnet" in sys.modules and os.environ.get("OMP_NUM_THREADS") != wanted:
        raise ToolchainError(
            f"MXNet is already imported with another number of threads; set "
            f"OMP_NUM_THREADS={wanted} before importing it"
        )
    os.environ["OMP_NUM_THREADS"] = wanted
