"""Compile CUDA source with NVIDIA's compiler, from the path or from its Python packages."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..errors import ToolchainError
from ..gpu import find_cuda_folder
from ..target import CudaTarget

# What only machine code for the architecture itself may have, and no PTX for later ones.
_OWN_INSTRUCTIONS = "wgmma."
_RELEASE = re.compile(r"release (\d+\.\d+)")


def find_nvcc() -> str:
    """Find NVIDIA's compiler.

    Returns
    -------
    str
        The path of ``nvcc``: the first on the path, else that of the Python package.

    Raises
    ------
    ToolchainError
        If there is none; the message says what to install.
    """
    packaged = find_cuda_folder() / "bin"
    path = os.pathsep.join([os.environ.get("PATH", ""), str(packaged)])
    if (found := shutil.which("nvcc", path=path)) is None:
        raise ToolchainError(
            "no nvcc to compile for NVIDIA GPUs with; install it with: "
            "pip install 'bnn_tvm[cuda]', or put that of a CUDA toolkit on the path"
        )
    return found


def nvcc_version() -> str:
    """Return nvcc's release, such as ``13.0``.

    Raises
    ------
    ToolchainError
        If there is no nvcc.
    """
    done = subprocess.run([find_nvcc(), "--version"], capture_output=True, text=True)
    found = _RELEASE.search(done.stdout)
    return found[1] if found else "unknown"


def compile_fatbin(source: str, target: CudaTarget) -> bytes:
    """Compile kernels for a target's architecture, and to PTX for newer ones.

    Machine code with instructions that the architecture does not share with newer ones is said to
    be for ``sm_90a``, not ``sm_90``. The source has to say what is done instead in PTX.

    Parameters
    ----------
    source : str
        CUDA C++.
    target : CudaTarget

    Returns
    -------
    bytes
        A fat binary with the machine code and the PTX.

    Raises
    ------
    ToolchainError
        If there is no nvcc, or it refuses the source.
    """
    nvcc, number = find_nvcc(), target.compute_capability
    with tempfile.TemporaryDirectory(prefix="bnn_tvm_") as folder:
        code, binary = Path(folder) / "kernels.cu", Path(folder) / "kernels.fatbin"
        code.write_text(source)
        generate = _architectures(number, _OWN_INSTRUCTIONS in source)
        command = [nvcc, "--fatbin", "-O3", *generate, "-o", str(binary), str(code)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ToolchainError(f"nvcc does not compile for {target.id}: {_reason(done)}")
        return binary.read_bytes()


def _architectures(number: int, own: bool) -> list[str]:
    """Say what machine code and what PTX to make."""
    if not own:
        return ["-gencode", f"arch=compute_{number},code=[sm_{number},compute_{number}]"]
    machine_code = f"arch=compute_{number}a,code=sm_{number}a"
    return ["-gencode", machine_code, "-gencode", f"arch=compute_{number},code=compute_{number}"]


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line or "fatal" in line]
    return " ".join((errors or lines)[:3]) or f"exit status {done.returncode}"
