"""The machine that a package runs on: what it is, and whether it can run the package."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import DeviceError, WrongArchitectureError
from .package.manifest import TargetInfo

CPUINFO = Path("/proc/cpuinfo")

# Other systems' names for what LLVM triples call x86_64, aarch64 and arm.
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64", "armv7l": "arm", "armv8l": "arm"}

DEVICES = ("local",)


@dataclass(frozen=True)
class LocalDevice:
    """The processor of this machine.

    Attributes
    ----------
    architecture : str
        As in the first part of an LLVM triple: ``x86_64``, ``aarch64``, ...
    cpu_model : str
        The vendor's name, or the architecture where Linux does not tell.
    flags : frozenset of str
        CPU flags as ``/proc/cpuinfo`` names them.
    cores : int
        Cores that this process may use.
    """

    architecture: str
    cpu_model: str
    flags: frozenset[str]
    cores: int

    @classmethod
    def detect(cls) -> LocalDevice:
        """Describe the machine that this process runs on."""
        facts = _parse_cpuinfo(CPUINFO.read_text() if CPUINFO.exists() else "")
        machine = platform.machine().lower()
        return cls(
            architecture=_ARCHITECTURES.get(machine, machine),
            cpu_model=facts.get("model name", machine),
            # x86 kernels write "flags", ARM kernels "Features".
            flags=frozenset(facts.get("flags", facts.get("Features", "")).split()),
            cores=len(os.sched_getaffinity(0)),
        )

    def lacks(self, flags: Iterable[str]) -> list[str]:
        """Name those of `flags` that this processor does not have."""
        return sorted(set(flags) - self.flags)

    def check_runs(self, target: TargetInfo, name: str = "this machine") -> None:
        """Refuse code that this processor would die on.

        Parameters
        ----------
        target : TargetInfo
            What the code was compiled for.
        name : str, optional
            What to call this processor's machine in errors.

        Raises
        ------
        WrongArchitectureError
            If the architecture differs or a CPU flag is missing.
        """
        architecture = target.triple.split("-")[0]
        if architecture != self.architecture:
            raise WrongArchitectureError(
                f"wrong architecture: the package is for {architecture} ({target.id}) and {name} "
                f"is {self.architecture}; compile with a target that it runs (bnn-tvm targets)"
            )
        if missing := self.lacks(target.features):
            raise WrongArchitectureError(
                f"wrong architecture: the CPU of {name} lacks {', '.join(missing)}, which the "
                f"package's target {target.id} needs; compile with --target host on that machine, "
                "or choose another of bnn-tvm targets"
            )


def find_device(name: str) -> LocalDevice:
    """Find a device by the name that the command line takes.

    Raises
    ------
    DeviceError
        If no device of that name is known.
    """
    if name not in DEVICES:
        raise DeviceError(f"unknown device {name!r}; allowed: {', '.join(DEVICES)}")
    return LocalDevice.detect()


def processor_name() -> str:
    """Name this machine's processor, with its family and model numbers: names can be vague."""
    facts = _parse_cpuinfo(CPUINFO.read_text() if CPUINFO.exists() else "")
    numbers = [f"{key} {facts[key]}" for key in ("cpu family", "model") if key in facts]
    name = facts.get("model name", platform.machine())
    return f"{name} ({', '.join(numbers)})" if numbers else name


def _parse_cpuinfo(text: str) -> dict[str, str]:
    """Read the first processor's block of ``/proc/cpuinfo``."""
    pairs = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
