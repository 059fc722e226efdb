"""The facts without which a measured time means nothing."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import dataclass

from ..device import LocalDevice

_DISTRIBUTIONS = {
    "bnn_tvm": "bnn_tvm",
    "tvm": "apache-tvm",
    "tvm_ffi": "apache-tvm-ffi",
    "numpy": "numpy",
    "mxnet": "mxnet",
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
}


@dataclass(frozen=True)
class Environment:
    """Where and with what something was measured.

    Attributes
    ----------
    cpu_model, architecture : str
    cores, threads : int
        Cores that the process may use, and threads that one run used.
    system : str
        Operating system and kernel.
    versions : dict of str to str
        Of Python and of the installed packages that matter.
    gpu : str
        Of the GPU that ran it; '' if none did.
    """

    cpu_model: str
    architecture: str
    cores: int
    threads: int
    system: str
    versions: dict[str, str]
    gpu: str = ""


def describe_environment(device: LocalDevice, threads: int) -> Environment:
    """Collect the facts about this process on `device`."""
    return Environment(
        cpu_model=device.cpu_model,
        architecture=device.architecture,
        cores=device.cores,
        threads=threads,
        system=f"{platform.system()} {platform.release()}",
        versions={"python": platform.python_version(), **_installed_versions()},
    )


def _installed_versions() -> dict[str, str]:
    names = {dist.name.replace("-", "_").lower() for dist in importlib.metadata.distributions()}
    return {
        label: importlib.metadata.version(name)
        for label, name in _DISTRIBUTIONS.items()
        if name.replace("-", "_") in names
    }
