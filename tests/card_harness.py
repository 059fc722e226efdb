"""A board with a GPU where there is none: the processor holds its memory, runs and times its code.

python tests/card_harness.py NAME CAPABILITY device serve ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bnn_tvm import gpu

_CPU = 1


def card_command(name: str, capability: str) -> tuple[object, ...]:
    """How to start the command line on a machine with such a GPU."""
    return sys.executable, Path(__file__), name, capability


class SerialBuilder:
    """Compiles kernels that are scheduled for a GPU for the processor that stands in for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def build(self, inputs: Sequence[Any]) -> list[Any]:
        """Build libraries as a builder of MetaSchedule does, each in a folder of its own."""
        return [self._build(item.mod["main"]) for item in inputs]

    def _build(self, func: Any) -> Any:
        import tvm
        from cuda_serial_harness import serialize
        from tvm.s_tir import meta_schedule as ms

        from bnn_tvm.target import get_target

        serial = serialize(func).with_attr("global_symbol", "main")
        library = tvm.compile(tvm.IRModule({"main": serial}), get_target("x86-64").to_tvm())
        path = self._folder / f"built{len(list(self._folder.iterdir()))}" / "kernel.so"
        path.parent.mkdir()
        library.export_library(str(path))
        return ms.builder.BuilderResult(str(path), None)


def _stand_in(name: str, capability: str) -> Callable[[Sequence[str]], int]:
    gpu.CUDA = _CPU
    gpu.load_cuda_library = lambda: None
    gpu.find_gpu = lambda: gpu.GpuInfo(name, capability)
    # Imported now, when the modules that it imports find the stand-in.
    from bnn_tvm.cli import main

    return main


if __name__ == "__main__":
    _name, _capability, *_arguments = sys.argv[1:]
    raise SystemExit(_stand_in(_name, _capability)(_arguments))
