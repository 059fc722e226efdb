"""A pytest plugin: an NVIDIA card that this machine's processor emulates.

    python -m pytest -p emulated_card -m cuda tests/cuda/test_on_gpu.py

TVM's own CUDA runtime loads, with `emulated_card.cpp` in the place of NVIDIA's libraries; device
code is compiled for the processor (`cuda_emulation_harness.py`). Processes that are started from
such a one have no card.
"""

from __future__ import annotations

import atexit
import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

from cuda_emulation_harness import compile_emulated, list_kernels

from bnn_tvm import gpu
from bnn_tvm.cuda import code_generator
from bnn_tvm.target import CudaTarget

_SOURCE = Path(__file__).with_suffix(".cpp")
_RUNTIME, _DRIVER = f"libcudart.so.{gpu.CUDA_MAJOR}", "libcuda.so.1"
_LAUNCH = """
extern "C" int {name}_parameters = {count};
extern "C" void {name}_launch(const unsigned* grid, const unsigned* block, void** values) {{
  const auto at = [](const unsigned* of) {{ return Place{{int(of[0]), int(of[1]), int(of[2])}}; }};
  launch(at(grid), at(block), [=] {{ {name}({arguments}); }});
}}
"""


def _build(folder: Path) -> None:
    """Build and load both libraries: all functions are in one, the other is there by its name."""
    versions = folder / "versions"
    versions.write_text(f"{_RUNTIME} {{ global: cuda*; }};\n")
    include = f"-I{gpu.find_cuda_folder() / 'include'}"
    command = ["g++", "-std=c++20", "-O1", "-w", "-shared", "-fPIC", include]
    for name, source in ((_RUNTIME, _SOURCE), (_DRIVER, "/dev/null")):
        options = [f"-Wl,-soname,{name}", "-o", str(folder / name), "-x", "c++", str(source)]
        script = [f"-Wl,--version-script={versions}"] if source is _SOURCE else []
        subprocess.run([*command, *script, *options], check=True)
        ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)


def _compile(source: str, target: CudaTarget, folder: Path) -> bytes:
    """Compile device code; return the path of the library, as a card of ours takes it."""
    launches = [
        _LAUNCH.format(
            name=name,
            count=len(parameters),
            arguments=", ".join(f"({dtype})values[{i}]" for i, (dtype, _) in enumerate(parameters)),
        )
        for name, parameters in list_kernels(source)
    ]
    return str(compile_emulated(source, "".join(launches), folder)).encode() + b"\0"


def _install() -> None:
    folder = Path(tempfile.mkdtemp(prefix="bnn_tvm_card_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _build(folder)
    code_generator.compile_fatbin = lambda source, target: _compile(source, target, folder)


_install()
