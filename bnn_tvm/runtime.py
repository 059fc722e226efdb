"""Run a package with numpy and TVM's runtime library, without the compiler.

Importing this module loads neither TVM's Python package nor its compiler library: the
runtime library is found beside the installed package and loaded by itself.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from . import gpu
from .device import LocalDevice
from .errors import DeviceError, InputError, PackageError, ToolchainError
from .package.bundle import Package
from .package.manifest import Manifest, TensorInfo

# TVM emits aligned vector loads and stores: a plain numpy buffer would crash.
ALIGNMENT = 64

_CPU, _DEVICE_ID, _POOLED_ALLOCATOR = 1, 0, 2
_ALL_CORES = 1  # thread pool mode: count every core, not only the small ones

Arrays = np.ndarray | tuple[np.ndarray, ...]


class Session:
    """A package, loaded and ready to run on this machine.

    A session owns its input buffers: use one session a thread.

    Parameters
    ----------
    package : Package or path
    threads : int
        Threads that one run uses, at most the cores of this process.
    device : LocalDevice, optional
        The machine to check the package against; this one if left out.

    Attributes
    ----------
    manifest : Manifest
    threads : int
    on_gpu : bool
        Whether the model runs on this machine's GPU.

    Raises
    ------
    PackageError
        If the package cannot be read or its library cannot be loaded.
    DeviceError
        If this machine lacks an instruction set that the package needs, the GPU, or the threads.
    ToolchainError
        If TVM's runtime is not installed.
    """

    def __init__(
        self,
        package: Package | str | os.PathLike[str],
        threads: int = 1,
        device: LocalDevice | None = None,
    ) -> None:
        loaded = package if isinstance(package, Package) else Package.load(package)
        machine = device or LocalDevice.detect()
        machine.check_runs(loaded.manifest.target)
        _check_threads(threads, machine.cores)
        _check_tvm_version(loaded.manifest)
        self.manifest = loaded.manifest
        self.threads = threads
        self.on_gpu = _find_gpu(loaded.manifest.target.gpu)
        self._module = _load_library(loaded.library)
        self._main = _open_main(self._module, self.on_gpu)
        self._buffers = [aligned_empty(i.shape, i.dtype) for i in self.manifest.inputs]
        self._tensors = _lend(self._buffers, self.on_gpu)
        self._results = gpu.allocate(self.manifest.outputs) if self.on_gpu else []

    def run(self, *arrays: np.ndarray | Mapping[str, np.ndarray]) -> Arrays:
        """Run the model once.

        Parameters
        ----------
        *arrays : np.ndarray
            The inputs in the order of ``manifest.inputs``, with exactly their shapes and
            dtypes; or one mapping from input name to array. An array from `aligned_empty` is read
            in place, others are copied first.

        Returns
        -------
        np.ndarray or tuple of np.ndarray
            New arrays, in the order of ``manifest.outputs``; one array if there is one.

        Raises
        ------
        InputError
            If the number, a name, a shape or a dtype is not what the model expects.
            Nothing is cast: float64 is refused where float32 is expected.
        """
        inputs = _ordered(self.manifest.inputs, arrays)
        tensors = self._upload(inputs) if self.on_gpu else self._place(inputs)
        use_threads(self.threads)
        return _copy_out(self._main(*tensors, *self._results))

    def _upload(self, inputs: Sequence[np.ndarray]) -> list[Any]:
        for buffer, array in zip(self._buffers, inputs, strict=True):
            np.copyto(buffer, array)
        gpu.upload(self._buffers, self._tensors)
        return self._tensors

    def _place(self, inputs: Sequence[np.ndarray]) -> list[Any]:
        """Lend arrays that kernels can read where they lie; copy others to where they can."""
        tensors = list(self._tensors)
        for index, array in enumerate(inputs):
            if _can_lend(array):
                tensors[index] = _as_tensor(array)
            else:
                np.copyto(self._buffers[index], array)
        return tensors

    def bind_run(self, inputs: Sequence[np.ndarray]) -> Callable[[], object]:
        """Prepare runs on the same inputs, to be timed.

        Parameters
        ----------
        inputs : sequence of np.ndarray
            As `run` takes them, and it raises the same errors.

        Returns
        -------
        callable
            What `run` does, each time; on a GPU, runs on inputs that lie there already and
            leaves the outputs there.
        """
        if not self.on_gpu:
            return functools.partial(self.run, *inputs)
        # Copies the inputs there, and records the graph that later runs replay.
        self.run(*inputs)
        return gpu.GpuCall(self._main, [*self._tensors, *self._results])

    def bind_kernel(self, name: str, arrays: Sequence[np.ndarray]) -> Callable[[], None]:
        """Prepare calls of a single kernel of the library.

        Parameters
        ----------
        name : str
            One of ``manifest.kernels``.
        arrays : sequence of np.ndarray
            Its arguments, outputs last, each from `aligned_empty`.

        Returns
        -------
        callable
            Runs the kernel on those arrays, which it must outlive; on a GPU, on copies of them that
            lie there.

        Raises
        ------
        PackageError
            If the manifest or the library has no such kernel.
        InputError
            If an array has the wrong shape or dtype or is not aligned.
        """
        kernel = self.manifest.kernel(name)
        _ordered(kernel.arguments, tuple(arrays))
        if any(array.ctypes.data % ALIGNMENT for array in arrays):
            raise InputError(f"arguments of {name} must come from bnn_tvm.runtime.aligned_empty")
        function = _find_function(self._module, name)
        return _bind(function, arrays, self.threads, self.on_gpu)


def open_kernel(
    library: bytes, name: str, arrays: Sequence[np.ndarray], architecture: str = ""
) -> Callable[[], None]:
    """Prepare calls, on one thread, of a function in a shared library that is no package's.

    Parameters
    ----------
    library : bytes
    name : str
    arrays : sequence of np.ndarray
        Its arguments, each from `aligned_empty`; on a GPU it gets copies that lie there.
    architecture : str, optional
        Of the GPU that it was compiled for; '' if it runs on the processor.

    Raises
    ------
    PackageError
        If the library does not load or has no such function.
    DeviceError
        If this machine has no GPU that runs it.
    """
    on_gpu = _find_gpu(architecture)
    return _bind(_find_function(_load_library(library), name), arrays, 1, on_gpu)


def _bind(
    function: Any, arrays: Sequence[np.ndarray], threads: int, on_gpu: bool
) -> Callable[[], None]:
    """Prepare calls of a function, which keeps its library loaded, on arrays or copies of them."""
    tensors = _lend(arrays, on_gpu)
    if on_gpu:
        return gpu.GpuCall(function, tensors)

    def call() -> None:
        use_threads(threads)
        function(*tensors)

    return call


def _lend(arrays: Sequence[np.ndarray], on_gpu: bool) -> list[Any]:
    """Make tensors of arrays: of their memory, or on the GPU."""
    return gpu.copy_to_gpu(arrays) if on_gpu else [_as_tensor(array) for array in arrays]


def aligned_empty(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Allocate an array whose first byte lies at a multiple of `ALIGNMENT`."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def _can_lend(array: np.ndarray) -> bool:
    """Tell whether an array's memory is what kernels expect; DLPack lends no read-only one."""
    flags = array.flags
    return flags.c_contiguous and flags.writeable and array.ctypes.data % ALIGNMENT == 0


def _ordered(expected: Sequence[TensorInfo], given: tuple[Any, ...]) -> list[np.ndarray]:
    """Bring the given arrays into the expected order and check each."""
    if len(given) == 1 and isinstance(given[0], Mapping):
        given = _by_name(expected, given[0])
    if len(given) != len(expected):
        raise InputError(f"{len(expected)} arrays are expected, {len(given)} were given")
    for info, array in zip(expected, given, strict=True):
        _check_array(info, array)
    return list(given)


def _by_name(expected: Sequence[TensorInfo], given: Mapping[str, Any]) -> tuple[Any, ...]:
    names = [info.name for info in expected]
    if set(names) != set(given):
        raise InputError(
            f"inputs {', '.join(names)} are expected, {', '.join(map(str, given))} were given"
        )
    return tuple(given[name] for name in names)


def _check_array(info: TensorInfo, array: Any) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{info.name} must be a numpy array, not {type(array).__name__}")
    if array.shape != info.shape or array.dtype != info.dtype:
        raise InputError(
            f"{info.name} must be {info.dtype} of shape {_spell(info.shape)}, not "
            f"{array.dtype} of shape {_spell(array.shape)}"
        )


def _spell(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _copy_out(result: Any) -> Arrays:
    import tvm_ffi

    if isinstance(result, tvm_ffi.Tensor):
        return _copy_of(result)
    return tuple(_copy_of(tensor) for tensor in result)


def _copy_of(tensor: Any) -> np.ndarray:
    return gpu.download(tensor) if gpu.holds(tensor) else _as_array(tensor).copy()


def _as_tensor(array: np.ndarray) -> Any:
    """Lend an array's memory to TVM."""
    import tvm_ffi

    if array.dtype != np.bool_:
        return tvm_ffi.from_dlpack(array)
    return _reinterpret(tvm_ffi.from_dlpack(array.view(np.uint8)), "bool")


def _as_array(tensor: Any) -> np.ndarray:
    """Look at a tensor's memory as an array."""
    if str(tensor.dtype) != "bool":
        return np.from_dlpack(tensor)
    return np.from_dlpack(_reinterpret(tensor, "uint8")).view(np.bool_)


def _reinterpret(tensor: Any, dtype: str) -> Any:
    """View a tensor as another dtype of its size: numpy 1.23 exchanges no booleans."""
    import tvm_ffi

    view = tvm_ffi.get_global_func("runtime.TVMTensorCreateView")
    return view(tensor, tvm_ffi.Shape(tensor.shape), tvm_ffi.dtype(dtype), 0)


def _check_threads(threads: int, cores: int) -> None:
    if not 1 <= threads <= cores:
        raise DeviceError(f"threads must be between 1 and {cores}, this process's cores")


def _check_tvm_version(manifest: Manifest) -> None:
    """Refuse a library made by another minor release: TVM promises nothing between them."""
    try:
        here = importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError as exc:
        raise ToolchainError("TVM's runtime is not installed; pip install bnn_tvm") from exc
    made_by = manifest.versions.get("tvm", here)
    if made_by.split(".")[:2] != here.split(".")[:2]:
        raise PackageError(
            f"the package was made by TVM {made_by} and this is TVM {here}; "
            f"compile the model again, or install apache-tvm {made_by}"
        )


@cache
def load_tvm_runtime() -> None:
    """Load TVM's runtime library alone, unless TVM's Python package already did."""
    if "tvm" in sys.modules:
        return
    from tvm_ffi.libinfo import load_lib_ctypes

    spec = importlib.util.find_spec("tvm")
    places = spec.submodule_search_locations if spec else None
    folders = [Path(place) / "lib" for place in places or ()]
    try:
        load_lib_ctypes("tvm", "tvm_runtime", "RTLD_GLOBAL", extra_lib_paths=folders)
    except (RuntimeError, OSError) as exc:
        raise ToolchainError(f"TVM's runtime library does not load: {exc}") from exc


def _load_library(library: bytes) -> Any:
    """Load a shared library's bytes; the file is gone again when this returns."""
    import tvm_ffi

    load_tvm_runtime()
    with tempfile.TemporaryDirectory(prefix="bnn_tvm-") as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(library)
        try:
            return tvm_ffi.load_module(path, keep_module_alive=False)
        except (RuntimeError, OSError) as exc:
            raise PackageError(f"the package's library does not load: {exc}") from exc


def _find_gpu(architecture: str) -> bool:
    """Tell whether a package needs a GPU; make sure that there is one then."""
    if not architecture:
        return False
    load_tvm_runtime()
    gpu.find_gpu().check_runs(architecture)
    return True


def _open_main(module: Any, on_gpu: bool) -> Callable[..., Any]:
    machine = _find_function(module, "vm_load_executable")()
    # Constants and results lie on the first device; the processor comes last.
    kinds = [gpu.CUDA, _CPU] if on_gpu else [_CPU]
    machine["vm_initialization"](*(x for k in kinds for x in (k, _DEVICE_ID, _POOLED_ALLOCATOR)))
    return _find_function(machine, "main")


def _find_function(module: Any, name: str) -> Any:
    try:
        return module.get_function(name, query_imports=True)
    except AttributeError as exc:
        raise PackageError(
            f"the package's library has no function {name!r}; compile the model again"
        ) from exc


# TVM keeps one thread pool per calling thread, and so must the record of its setting.
_pool = threading.local()


def use_threads(count: int) -> None:
    """Set the number of threads that kernels called from this thread use."""
    if getattr(_pool, "count", None) == count:
        return
    import tvm_ffi

    # As many workers as there are cores, and none of them (nor this thread) tied to a core, which
    # would make processes collide. TVM reads this at each parallel loop, which runs in one thread
    # where it takes the machine for one core (it halves what it finds), so it is left set.
    os.environ.update(TVM_NUM_THREADS=str(len(os.sched_getaffinity(0))), TVM_BIND_THREADS="0")
    tvm_ffi.get_global_func("runtime.config_threadpool")(_ALL_CORES, count)
    started = tvm_ffi.get_global_func("runtime.NumThreads")()
    if started != count:
        raise DeviceError(
            f"TVM's thread pool was already started with {started} threads by other code; "
            f"set TVM_NUM_THREADS={count} before it starts"
        )
    _pool.count = count
