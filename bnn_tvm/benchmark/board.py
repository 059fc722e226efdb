"""Packages opened on this machine: run, and timed in turn.

`bnn-tvm device serve` answers messages with it; `remote.RemoteBoard` is its client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..device import LocalDevice
from ..gpu import GpuInfo, find_gpu
from ..package import Package
from ..package.manifest import TensorInfo
from ..runtime import Session, load_tvm_runtime, open_kernel
from .condition import Condition
from .layers import bind_random, random_tensor
from .measure import Call, Plan, Timing, measure_in_turn


class Board:
    """The machine that we run on, with packages opened on it.

    Parameters
    ----------
    machine : LocalDevice, optional
        What it is; detected if left out.
    """

    def __init__(self, machine: LocalDevice | None = None) -> None:
        self.machine = machine or LocalDevice.detect()
        self._sessions: dict[str, Session] = {}

    def find_gpu(self) -> GpuInfo:
        """Look for a GPU."""
        load_tvm_runtime()
        return find_gpu()

    def open(self, label: str, package: Package, threads: int) -> None:
        """Open a package under a name; see `Session` for the errors."""
        self._sessions[label] = Session(package, threads, self.machine)

    def run(self, label: str, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Run a package once; see `Session.run`."""
        result = self._sessions[label].run(*inputs)
        return result if isinstance(result, tuple) else (result,)

    def time_models(self, inputs: Sequence[np.ndarray], plan: Plan) -> dict[str, Timing]:
        """Time all packages in turn on the same inputs."""
        return measure_in_turn(
            {label: session.bind_run(inputs) for label, session in self._sessions.items()}, plan
        )

    def time_kernels(self, kernels: Mapping[str, str], plan: Plan) -> dict[str, Timing]:
        """Time kernels in turn, each on its own random tensors.

        Parameters
        ----------
        kernels : mapping of str to str
            From a package's name to the kernel's.
        plan : Plan
        """
        return measure_in_turn(
            {label: self._kernel_call(label, name) for label, name in kernels.items()}, plan
        )

    def _kernel_call(self, label: str, name: str) -> Call:
        session = self._sessions[label]
        return bind_random(session, session.manifest.kernel(name))

    def time_library(
        self,
        library: bytes,
        name: str,
        arguments: Sequence[TensorInfo],
        plan: Plan,
        architecture: str = "",
    ) -> Timing:
        """Time a function of a library that is no package's, on random tensors and one thread.

        It runs on the GPU if the architecture of one is named; see `open_kernel` for the errors.
        """
        arrays = [random_tensor(info) for info in arguments]
        call = open_kernel(library, name, arrays, architecture)
        return measure_in_turn({name: call}, plan)[name]

    def condition(self) -> Condition:
        """Look at temperature, clock and memory."""
        return Condition.now()
