"""Where and with what schedules were measured."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import tvm

from ..cuda.nvcc import nvcc_version
from ..device import processor_name
from ..gpu import find_gpu
from ..target import CudaTarget, Target


@dataclass(frozen=True)
class TuningEnvironment:
    """The facts that a tuning log depends on.

    Attributes
    ----------
    target : str
        Id of the target that the kernels were compiled for.
    machine : str
        Model of the processor or the GPU that ran them.
    versions : dict of str to str
        Of ``bnn_tvm``, ``tvm`` and what makes machine code, ``llvm`` or ``nvcc``.
    """

    target: str
    machine: str
    versions: dict[str, str]

    def differences(self, now: TuningEnvironment, same_machine: bool = True) -> list[str]:
        """Say what differs here from another environment, one phrase each.

        Parameters
        ----------
        now : TuningEnvironment
        same_machine : bool, optional
            Whether the code is meant for the machine of `now`, so that it counts.
        """
        pairs = [(name, self.versions.get(name, "?"), now.versions[name]) for name in now.versions]
        if same_machine:
            pairs.insert(0, ("on", self.machine, now.machine))
        return [f"{name} {theirs}, not {ours}" for name, theirs, ours in pairs if theirs != ours]


def describe_environment(target: Target, machine: str = "") -> TuningEnvironment:
    """Describe this process on this machine, or on a machine of the given name."""
    is_gpu = isinstance(target, CudaTarget)
    versions = {
        "bnn_tvm": importlib.metadata.version("bnn_tvm"),
        "tvm": tvm.__version__,
        **({"nvcc": nvcc_version()} if is_gpu else {"llvm": _llvm_version()}),
    }
    here = find_gpu().name if is_gpu else processor_name()
    return TuningEnvironment(target.id, machine or here, versions)


def _llvm_version() -> str:
    return str(tvm.target.codegen.llvm_version_major())
