"""The machine's peaks: how fast one core does one kind of work and nothing else."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bnn_tvm.benchmark.measure import Call, Spread, Timing
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import DeviceError, ToolchainError
from bnn_tvm.runtime import aligned_empty

_SOURCE = Path(__file__).with_name("peaks.c")
_SECONDS = 50e-6
_GUESSED_RATE = 1e12
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
# Where Linux does not tell: what x86 cores have at least.
_LEAST_CACHE = {1: 32 << 10, 2: 256 << 10}


@dataclass(frozen=True)
class Probe:
    """One loop of ``peaks.c``.

    Attributes
    ----------
    peak : str
        What it measures; of several loops for one peak the first that the CPU has is taken.
    function : str
        Its name in ``peaks.c``.
    flags : tuple of str
        What it needs, as in ``/proc/cpuinfo``.
    work : int
        Of one round: operations (two for each multiply-accumulate), or 0 if it loads bytes.
    cache : int
        Level of the cache that it loads from; 0 for operations.
    """

    peak: str
    function: str
    flags: tuple[str, ...]
    work: int = 0
    cache: int = 0


BINARY, BINARY_AVX2, FMA, INT8, L1, L2 = "binary", "binary AVX2", "fma", "int8", "L1", "L2"

PROBES = (
    Probe(BINARY, "binary_vpopcntdq", ("avx512_vpopcntdq",), work=12 * 2 * 512),
    Probe(BINARY, "binary_pshufb", ("avx2",), work=6 * 2 * 256),
    Probe(BINARY_AVX2, "binary_pshufb", ("avx2",), work=6 * 2 * 256),
    Probe(FMA, "fma_avx512", ("avx512f",), work=12 * 2 * 16),
    Probe(FMA, "fma_avx2", ("avx2", "fma"), work=12 * 2 * 8),
    Probe(INT8, "int8_vnni", ("avx512_vnni",), work=12 * 2 * 64),
    Probe(L1, "load_avx512", ("avx512f",), cache=1),
    Probe(L1, "load_avx2", ("avx2",), cache=1),
    Probe(L2, "load_avx512", ("avx512f",), cache=2),
    Probe(L2, "load_avx2", ("avx2",), cache=2),
)


@dataclass(frozen=True)
class Gauge:
    """A probe that is ready to be timed in turn with others.

    Attributes
    ----------
    call : callable
        Does a fixed amount of work.
    work : int
        How much: operations or bytes.
    """

    call: Call
    work: int

    def rate(self, timing: Timing) -> Spread:
        """Work a second, round by round."""
        return Spread.of(self.work / seconds for seconds in timing.samples)


def open_gauges(peaks: Iterable[str]) -> dict[str, Gauge]:
    """Prepare the probes of the named peaks, those that this CPU can run.

    Raises
    ------
    ToolchainError
        If there is no C compiler.
    DeviceError
        If the CPU has no vector instructions to measure at all.
    """
    device = LocalDevice.detect()
    fitting = {probe.peak: probe for probe in reversed(PROBES) if not device.lacks(probe.flags)}
    if not fitting:
        raise DeviceError("this CPU has none of the instructions of peaks.c; AVX2 is the least")
    return {peak: _open(fitting[peak]) for peak in peaks if peak in fitting}


def _open(probe: Probe) -> Gauge:
    function = getattr(_library(), probe.function)
    buffer = _buffer(_cache_bytes(probe.cache) // 2 if probe.cache else 0)
    work = probe.work or buffer.nbytes
    rounds = max(1, round(_SECONDS * _GUESSED_RATE / work))
    arguments = (ctypes.c_long(rounds), ctypes.c_void_p(buffer.ctypes.data), buffer.nbytes)

    def call() -> None:
        function(*arguments)

    call.buffer = buffer  # type: ignore[attr-defined]  # C reads it: it must live as long
    return Gauge(call, work * rounds)


def _cache_bytes(level: int) -> int:
    """Size of one core's data cache."""
    for entry in _CACHES.glob("index*"):
        kind = (entry / "type").read_text().strip()
        if int((entry / "level").read_text()) == level and kind != "Instruction":
            return int((entry / "size").read_text().strip().removesuffix("K")) << 10
    return _LEAST_CACHE[level]


def _buffer(size: int) -> np.ndarray:
    array = aligned_empty((max(512, size // 512 * 512),), "uint8")
    array.fill(1)
    return array


@cache
def _library() -> ctypes.CDLL:
    """Compile ``peaks.c`` and load it; the file is gone again when this returns."""
    with tempfile.TemporaryDirectory(prefix="bnn_tvm-") as folder:
        library = Path(folder) / "peaks.so"
        command = ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as exc:
            raise ToolchainError(
                "measuring the machine's peaks needs gcc; install it (apt-get install gcc)"
            ) from exc
        if done.returncode:
            raise ToolchainError(f"gcc does not compile {_SOURCE.name}: {done.stderr.strip()}")
        loaded = ctypes.CDLL(str(library))
    for probe in PROBES:
        getattr(loaded, probe.function).argtypes = (
            ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t
        )  # fmt: skip
        getattr(loaded, probe.function).restype = None
    return loaded
