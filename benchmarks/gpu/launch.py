"""Time what runs on a GPU by its own events, on warm clocks."""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable

_WARM_UP, _ROUNDS = 20, 30


def time_on_gpu(call: Callable[[], object], inner: int = 1) -> float:
    """Measure the seconds of a call that starts work on PyTorch's stream, the median of rounds.

    Parameters
    ----------
    call : callable
    inner : int
        Calls between two events.
    """
    import torch

    for _ in range(_WARM_UP):
        call()
    samples = []
    for _ in range(_ROUNDS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(inner):
            call()
        end.record()
        end.synchronize()
        samples.append(start.elapsed_time(end) / 1e3 / inner)
    return statistics.median(samples)


class Launch:
    """One kernel of a fat binary with one pointer as its argument, by the driver's own calls.

    Parameters
    ----------
    code : bytes
    name : str
    blocks, threads : int
    pointer : int
        Address on the device.
    """

    def __init__(self, code: bytes, name: str, blocks: int, threads: int, pointer: int):
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._code = ctypes.create_string_buffer(code, len(code))
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        self._check("cuModuleLoadData", ctypes.byref(self._module), self._code)
        self._check(
            "cuModuleGetFunction", ctypes.byref(self._function), self._module, name.encode()
        )
        self._shape = (blocks, 1, 1, threads, 1, 1)
        self._pointer = ctypes.c_uint64(pointer)
        self._arguments = (ctypes.c_void_p * 1)(ctypes.addressof(self._pointer))

    def seconds(self) -> float:
        """Measure one launch."""
        import torch

        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        launch = ("cuLaunchKernel", self._function, *self._shape, 0, stream, self._arguments, None)
        return time_on_gpu(lambda: self._check(*launch))

    def _check(self, name: str, *arguments: object) -> None:
        if error := getattr(self._driver, name)(*arguments):
            raise RuntimeError(f"{name} failed with CUDA error {error}")
