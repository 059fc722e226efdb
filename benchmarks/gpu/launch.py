"""Work on PyTorch's stream, timed by the GPU's events as this compiler's is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TorchCall:
    """A call that starts work on PyTorch's stream.

    Attributes
    ----------
    start : callable
    """

    start: Callable[[], object]

    def __call__(self) -> None:
        """Do it and wait until it is done."""
        import torch

        self.start()
        torch.cuda.synchronize()

    def seconds(self, calls: int) -> float:
        """Measure so many calls, one started behind the other."""
        import torch

        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.start()
        begin.record()
        for _ in range(calls):
            self.start()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3


class Launch:
    """One kernel of a fat binary with one pointer as its argument, by the driver's own calls.

    Parameters
    ----------
    code : bytes
    name : str
    blocks, threads : int
    output : torch.Tensor
        On the device; the kernel gets its address.
    """

    def __init__(self, code: bytes, name: str, blocks: int, threads: int, output: Any):
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._code = ctypes.create_string_buffer(code, len(code))
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        self._check("cuModuleLoadData", ctypes.byref(self._module), self._code)
        self._check(
            "cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode()
        )
        self._shape = (blocks, 1, 1, threads, 1, 1)
        self._output = output
        self._pointer = ctypes.c_uint64(output.data_ptr())
        self._arguments = (ctypes.c_void_p * 1)(ctypes.addressof(self._pointer))

    def __call__(self) -> None:
        """Start it."""
        import torch

        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        self._check(
            "cuLaunchKernel", self._function, *self._shape, 0, stream, self._arguments, None
        )

    def _check(self, name: str, *arguments: object) -> None:
        if error := getattr(self._driver, name)(*arguments):
            raise RuntimeError(f"{name} failed with CUDA error {error}")
