"""The GPU of this machine: whether TVM's runtime can drive it, and whether it runs a package.

Loads neither TVM's Python package nor its compiler library.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import DeviceError, WrongArchitectureError

CUDA_MAJOR = 13
"""Of the CUDA runtime that the TVM wheel is linked with."""

_CUDART = f"libcudart.so.{CUDA_MAJOR}"
_DRIVING_LIBRARY = "libtvm_runtime_cuda.so"
_FIRST, _EXISTS, _COMPUTE_VERSION, _NAME = 0, 0, 4, 5

_TIMED = "bnn_tvm.timed"

CUDA = 2
"""The device type of NVIDIA GPUs in DLPack."""


@dataclass(frozen=True)
class GpuInfo:
    """The first GPU of a machine, or why there is none.

    Attributes
    ----------
    name : str
        As its driver says; '' if there is none that works.
    capability : str
        Its compute capability, such as ``9.0``; '' if there is none.
    problem : str
        Why there is none, and what to do; '' if there is one.
    """

    name: str = ""
    capability: str = ""
    problem: str = ""

    def check_runs(self, architecture: str, where: str = "this machine") -> None:
        """Make sure that it runs code for an architecture.

        Parameters
        ----------
        architecture : str
            Such as ``sm_80``.
        where : str, optional
            What to call its machine in errors.

        Raises
        ------
        DeviceError
            If there is no GPU, or a library for it is missing; the message says which.
        WrongArchitectureError
            If the GPU is older.
        """
        needs = f"code for {architecture} runs on a GPU of that architecture or newer"
        if self.problem:
            raise DeviceError(f"{needs}, and {where} has none that works: {self.problem}")
        own = self.capability.replace(".", "")
        if int(own) < int(architecture.removeprefix("sm_")):
            raise WrongArchitectureError(
                f"wrong architecture: {needs}, and the {self.name} of {where} has compute "
                f"capability {self.capability}; choose --target sm_{own}"
            )


def find_gpu() -> GpuInfo:
    """Look for the first GPU of this machine; TVM's runtime must be loaded.

    CUDA does not survive a fork: a process that forks leaves this to its children.
    """
    import tvm_ffi

    try:
        load_cuda_library()
    except OSError as exc:
        return GpuInfo(problem=f"CUDA does not load ({exc}); {_hint(str(exc))}")
    attribute = tvm_ffi.get_global_func("runtime.GetDeviceAttr")
    if not attribute(CUDA, _FIRST, _EXISTS):
        return GpuInfo(problem="see what nvidia-smi says there")
    name, capability = (attribute(CUDA, _FIRST, what) for what in (_NAME, _COMPUTE_VERSION))
    return GpuInfo(str(name), str(capability))


def _hint(reason: str) -> str:
    if _CUDART in reason or _DRIVING_LIBRARY in reason:
        return "install it there with: pip install 'bnn_tvm[cuda]'"
    return "install NVIDIA's driver there, or compile for a processor (bnn-tvm targets)"


@cache
def load_cuda_library() -> None:
    """Load the part of TVM's runtime that drives NVIDIA GPUs, unless TVM already did.

    Raises
    ------
    OSError
        If it does not load, because the driver or the CUDA runtime is missing.
    """
    import tvm_ffi

    if tvm_ffi.get_global_func("ffi.Module.load_from_bytes.cuda", allow_missing=True) is not None:
        return
    if (runtime := find_cuda_folder() / "lib" / _CUDART).exists():
        ctypes.CDLL(str(runtime), ctypes.RTLD_GLOBAL)
    for folder in _folders("tvm"):
        if (library := folder / "lib" / _DRIVING_LIBRARY).exists():
            _libraries.append(ctypes.CDLL(str(library)))
            return
    raise OSError(f"the installed TVM has no {_DRIVING_LIBRARY}")


def find_cuda_folder() -> Path:
    """Return where pip puts NVIDIA's packages of `CUDA_MAJOR`; it need not exist."""
    places = [folder / f"cu{CUDA_MAJOR}" for folder in _folders("nvidia")]
    return next((place for place in places if place.exists()), Path(f"nvidia/cu{CUDA_MAJOR}"))


def _folders(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]


# Kept, so that they stay loaded.
_libraries: list[ctypes.CDLL] = []


class _Form(Protocol):
    """What has a shape and a dtype."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> object: ...


def allocate(forms: Sequence[_Form]) -> list[Any]:
    """Make tensors in the memory of the first GPU, of the shapes and dtypes of others."""
    import tvm_ffi

    make = tvm_ffi.get_global_func("runtime.TVMTensorAllocWithScope")
    return [
        make(tvm_ffi.Shape(form.shape), tvm_ffi.dtype(str(form.dtype)), _device(), None)
        for form in forms
    ]


def copy_to_gpu(arrays: Sequence[np.ndarray]) -> list[Any]:
    """Make tensors of arrays in the memory of the first GPU."""
    tensors = allocate(arrays)
    upload(arrays, tensors)
    return tensors


def upload(arrays: Sequence[np.ndarray], tensors: Sequence[Any]) -> None:
    """Copy contiguous arrays into tensors of a GPU."""
    import tvm_ffi

    copy = tvm_ffi.get_global_func("runtime.TVMTensorCopyFromBytes")
    for array, tensor in zip(arrays, tensors, strict=True):
        copy(tensor, array.ctypes.data_as(ctypes.c_void_p), array.nbytes)


def download(tensor: Any) -> np.ndarray:
    """Copy a tensor of a GPU into a new array, once what computes it is done."""
    import tvm_ffi

    array = np.empty(tuple(tensor.shape), str(tensor.dtype))
    copy = tvm_ffi.get_global_func("runtime.TVMTensorCopyToBytes")
    copy(tensor, array.ctypes.data_as(ctypes.c_void_p), array.nbytes)
    return array


def holds(tensor: Any) -> bool:
    """Tell whether a tensor lies on a GPU."""
    return bool(tensor.device.dlpack_device_type() == CUDA)


@dataclass(frozen=True)
class GpuCall:
    """A call of a function on tensors that lie on the GPU.

    Attributes
    ----------
    function : callable
        Of a loaded library.
    tensors : sequence
    """

    function: Callable[..., Any]
    tensors: Sequence[Any]

    def __call__(self) -> None:
        """Run it and wait until it is done."""
        self.function(*self.tensors)
        synchronize()

    def seconds(self, calls: int) -> float:
        """Measure so many calls, one started behind the other, by the GPU's own events."""
        return measure_calls(self.function, self.tensors, calls, CUDA)


def measure_calls(
    function: Callable[..., Any], tensors: Sequence[Any], calls: int, device_type: int
) -> float:
    """Measure calls by the clock of a device, behind one that is not timed.

    Parameters
    ----------
    function : callable
    tensors : sequence
        Its arguments.
    calls : int
    device_type : int
        Of DLPack; a GPU's clock are its events.

    Returns
    -------
    float
        Seconds of all calls.
    """
    import tvm_ffi

    # The only timer of TVM's runtime takes functions by their name.
    tvm_ffi.register_global_func(_TIMED, function, override=True)
    make_timer = tvm_ffi.get_global_func("runtime.RPCTimeEvaluator")
    once, as_long_as_it_takes, no_pause, no_flush = 1, (0, 0), (0, 1), 0
    timer = make_timer(
        None,
        _TIMED,
        device_type,
        _FIRST,
        calls,
        once,
        *as_long_as_it_takes,
        *no_pause,
        no_flush,
        "",
    )
    (mean,) = struct.unpack("@d", bytes(timer(*tensors)))
    return float(mean) * calls


def synchronize() -> None:
    """Wait until the first GPU is done."""
    import tvm_ffi

    wait = tvm_ffi.get_global_func("runtime.Device_StreamSync")
    wait(_device(), 0)


def _device() -> Any:
    import tvm_ffi

    return tvm_ffi.Device(CUDA, _FIRST)
