"""Targets: what the compiler must know about a processor, read from ``targets/*.toml``."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.resources
import tomllib
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, ClassVar

from .device import LocalDevice
from .errors import TargetError
from .package.fields import decode
from .package.manifest import TargetInfo

HOST = "host"

_LLVM, _CUDA = "llvm", "cuda"
_POPCOUNTS = ("vpternlogd", "vpopcntd", "cnt", "pshufb", "popcnt", "popc", "none")
_WORD_BITS = (8, 32)
_DOT_INSTRUCTIONS = ("vpdpbusd", "vdpbf16ps", "mma.f16", "mma.tf32")
_B1_MMA = ("and", "xor", "none")
_HOST_VECTOR_BITS = 128
_LEAST_X86_VECTOR_BITS = 256


@dataclass(frozen=True)
class Target:
    """One processor, as one TOML file describes it.

    Attributes
    ----------
    id : str
        The file's name without ``.toml``.
    description : str
        One line for people.
    rank : int
        `detect_host` takes the target of highest rank that the machine can run.
    kind : str
        TVM's code generator: ``llvm``, or ``cuda`` for a `CudaTarget`.
    triple, mcpu : str
        LLVM's target triple and CPU name.
    features : tuple of str
        LLVM attributes, each with ``+`` or ``-`` in front.
    cpu_flags : tuple of str
        Names in ``/proc/cpuinfo`` that a machine must have to run the code.
    unless_cpu_flags : tuple of str
        Such names, too: `detect_host` passes over this target where the machine has one of them.
    num_cores : int
        Cores to plan for.
    vector_bits, vector_registers : int
        Width and number of the vector registers.
    l1_kib, l2_kib : int
        Data cache of one core, KiB; 0 if there is none.
    in_order : bool
        Whether each core executes instructions as they come, so that their order decides how fast.
    native_popcount : str
        Best way to count bits: ``vpopcntd`` (vectors of 32-bit numbers), ``vpternlogd`` (the same
        of two words at a time, after logic of three inputs), ``cnt`` (vectors of bytes),
        ``pshufb`` (byte table in a register), ``popcnt`` (scalar instruction), ``popc`` (every lane
        of a warp) or ``none``.
    word_bits : int
        Width of the words that channels are packed into.
    toolchain : str
        Prefix of the GNU cross tools, such as ``aarch64-linux-gnu`` of ``aarch64-linux-gnu-gcc``.
    dot_instructions : tuple of str
        Instructions that sum neighbouring products of low precision: ``vpdpbusd`` (bytes) and
        ``vdpbf16ps`` (bfloat16), on vectors of `vector_bits`; ``mma.f16`` and ``mma.tf32`` of the
        tensor cores of GPUs.
    """

    id: str
    description: str
    rank: int
    kind: str
    triple: str
    mcpu: str
    features: tuple[str, ...]
    cpu_flags: tuple[str, ...]
    unless_cpu_flags: tuple[str, ...]
    num_cores: int
    vector_bits: int
    vector_registers: int
    l1_kib: int
    l2_kib: int
    in_order: bool
    native_popcount: str
    word_bits: int
    toolchain: str
    dot_instructions: tuple[str, ...]

    kinds: ClassVar[tuple[str, ...]] = (_LLVM,)

    def __post_init__(self) -> None:
        self._one_of("kind", self.kinds)
        self._one_of("native_popcount", _POPCOUNTS)
        self._one_of("word_bits", _WORD_BITS)
        for key in ("num_cores", "vector_bits", "vector_registers"):
            self._require(key, getattr(self, key) > 0, "must be above 0")
        for key in ("l1_kib", "l2_kib"):
            self._require(key, getattr(self, key) >= 0, "must not be below 0")
        known = set(self.dot_instructions) <= set(_DOT_INSTRUCTIONS)
        self._require("dot_instructions", known, f"must be among {', '.join(_DOT_INSTRUCTIONS)}")
        self._require("vector_bits", self.vector_bits % self.word_bits == 0, "must hold words")
        self._require("triple", "-" in self.triple, "must be an LLVM triple")
        signed = all(feature[:1] in ("+", "-") for feature in self.features)
        self._require("features", signed, "must each start with + or -")

    def _one_of(self, key: str, allowed: tuple[object, ...]) -> None:
        choices = ", ".join(map(str, allowed))
        self._require(key, getattr(self, key) in allowed, f"must be one of {choices}")

    def _require(self, key: str, condition: bool, rule: str) -> None:
        if not condition:
            value = getattr(self, key)
            raise TargetError(f"{self.id}.toml: {key} {rule}, not {value!r}")

    @property
    def architecture(self) -> str:
        """First part of the triple."""
        return self.triple.split("-")[0]

    @property
    def is_bare_metal(self) -> bool:
        """Tell whether there is no operating system, and so nothing that loads libraries."""
        return "none" in self.triple.split("-")

    @property
    def counts_pairs(self) -> bool:
        """Whether words are counted two at a time: logic of three inputs is as fast as of two."""
        return self.native_popcount == "vpternlogd"

    @property
    def counts_words(self) -> bool:
        """Whether words are counted one vector at a time, by an instruction of their width."""
        return self.native_popcount == "vpopcntd"

    @property
    def counts_along_k(self) -> bool:
        """Tell whether vectors of layers on bits lie along the reduction: bytes are counted."""
        return self.native_popcount == "cnt"

    @property
    def has_vector_rules(self) -> bool:
        """Tell whether there are schedules with vectors: for NEON, and from AVX2 on."""
        has_vectors = self.counts_along_k or self.vector_bits >= _LEAST_X86_VECTOR_BITS
        return self.kind == _LLVM and has_vectors

    @property
    def filters_rows(self) -> bool:
        """Tell whether convolutions of images are computed in fewer multiplications."""
        is_known = self.architecture in ("x86_64", "aarch64")
        return is_known and self.has_vector_rules and not self.in_order

    @property
    def pools_sums(self) -> bool:
        """Tell whether kernels of layers on bits average rows of what they compute."""
        return self.architecture == "x86_64" and self.has_vector_rules

    @property
    def skips_rows(self) -> bool:
        """Tell whether layers on bits read no padding above and below, but know what it counts."""
        by_word = self.counts_words or self.counts_pairs
        by_byte = self.native_popcount == "pshufb" and self.has_vector_rules
        along_k = self.counts_along_k and self.architecture == "aarch64"
        return by_word or by_byte or along_k

    @property
    def skips_columns(self) -> bool:
        """Tell whether they read none before and after rows: where pixels are counted one by one.

        Steps that are written out for processors in order count a row of a window at once.
        """
        return self.skips_rows and not self.in_order

    @property
    def sums_by_planes(self) -> bool:
        """Tell whether convolutions of images sum one plane after the other.

        Their weights are neighbours then, as those of neighbouring numbers are; with AVX2 that
        took up to 1.4 times as long.
        """
        return self.architecture == "aarch64"

    def info(self) -> TargetInfo:
        """Say what a package's manifest needs of this target."""
        return TargetInfo(self.id, self.triple, self.mcpu, self.cpu_flags, self.num_cores)

    def to_tvm(self) -> Any:
        """Make TVM's target object; imports the compiler."""
        import tvm

        return tvm.target.Target(self._processor())

    def _processor(self) -> dict[str, Any]:
        """Describe the processor to TVM."""
        # TVM passes floats in general registers unless told otherwise, whatever the triple says.
        abi = {"mfloat-abi": "hard"} if self.triple.endswith("hf") else {}
        # LLVM's pass that joins loads and stores for 32-bit ARM moves base registers that are still
        # needed (llvm-project issue 223630; at least up to LLVM 23): values land beside buffers.
        is_arm = self.architecture.startswith(("arm", "thumb"))
        options = {"cl-opt": ["-arm-load-store-opt:bool=false"]} if is_arm else {}
        return {
            "kind": _LLVM,
            "mtriple": self.triple,
            "mcpu": self.mcpu,
            "mattr": list(self.features),
            "num-cores": self.num_cores,
            # TVM guesses the width of processors that it does not know, and warns.
            "vector-width": self.vector_bits,
            **abi,
            **options,
        }


@dataclass(frozen=True)
class Gpu:
    """Facts about an NVIDIA GPU of one compute capability, and the card that is planned for.

    Attributes
    ----------
    b1_mma : str
        How its tensor cores combine bits before they count them, as one instruction: ``and``,
        ``xor``, or ``none``.
    async_copy : bool
        Whether it copies from global to shared memory past the registers.
    warpgroup_mma : bool
        Whether its tensor cores multiply for four warps at once, out of shared memory.
    multiprocessors : int
        Of the card.
    registers, warps : int
        32-bit registers of a multiprocessor, and warps that it keeps resident.
    shared_kib, block_shared_kib : int
        Shared memory of a multiprocessor, and the most that one block may have, KiB.
    """

    b1_mma: str
    async_copy: bool
    warpgroup_mma: bool
    multiprocessors: int
    registers: int
    warps: int
    shared_kib: int
    block_shared_kib: int


@dataclass(frozen=True)
class CudaTarget(Target):
    """An NVIDIA GPU and the processor beside it.

    The fields of `Target` describe the processor, but for ``vector_bits`` and
    ``vector_registers``: these are a warp's lanes and a thread's registers. The id is the
    architecture, such as ``sm_80``.

    Attributes
    ----------
    gpu : Gpu
    """

    gpu: Gpu

    kinds: ClassVar[tuple[str, ...]] = (_CUDA,)

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = ", ".join(_B1_MMA)
        self._require("gpu", self.gpu.b1_mma in _B1_MMA, f"must have a b1_mma of {allowed}")
        numbers = dataclasses.astuple(self.gpu)[3:]
        self._require("gpu", min(numbers) > 0, "must have numbers above 0")
        self._require("id", self.id.removeprefix("sm_").isdigit(), "must be an architecture")

    @property
    def compute_capability(self) -> int:
        """Ten times the major number and the minor: 80 for 8.0."""
        return int(self.id.removeprefix("sm_"))

    def info(self) -> TargetInfo:
        """Say what a package's manifest needs of this target."""
        return dataclasses.replace(super().info(), gpu=self.id)

    def to_tvm(self) -> Any:
        """Make TVM's target object, with the processor as its host."""
        import tvm

        host = self._processor() | {"vector-width": _HOST_VECTOR_BITS}
        shared = self.gpu.block_shared_kib * 1024
        gpu = {
            "kind": self.kind,
            "arch": self.id,
            "max_shared_memory_per_block": shared,
            "max_threads_per_block": 1024,
            "thread_warp_size": 32,
        }
        return tvm.target.Target(gpu, host=tvm.target.Target(host))


def get_processor(name: str, instruction: str = "") -> Target:
    """Find a target as `get_target` does, for what GPUs have no part in.

    Raises
    ------
    TargetError
        If there is no such target, or it is a GPU.
    """
    target = get_target(name, instruction)
    if isinstance(target, CudaTarget):
        raise TargetError(
            f"{name} is a GPU, which has no C packages and, of lower precisions, fp16 and tf32; "
            "choose one of these, or a processor (bnn-tvm targets)"
        )
    return target


def list_targets() -> list[Target]:
    """Read every target that is installed, best rank first.

    Raises
    ------
    TargetError
        If a file is not a valid description.
    """
    targets = [_read(file) for file in _files().values()]
    return sorted(targets, key=lambda target: (-target.rank, target.id))


def get_target(name: str, instruction: str = "") -> Target:
    """Find a target.

    Parameters
    ----------
    name : str
        An installed target's id, ``host``, or the path of a ``.toml`` file.
    instruction : str
        One of `Target.dot_instructions`, which ``host`` has if the machine does.

    Raises
    ------
    TargetError
        If there is no such target; the message names close matches.
    """
    return detect_host(instruction=instruction) if name == HOST else _find(name)


def require_instruction(target: Target, instruction: str) -> None:
    """Refuse a target that lacks one of `Target.dot_instructions`.

    Raises
    ------
    TargetError
        The message names targets that have it.
    """
    if instruction not in target.dot_instructions:
        having = [other.id for other in list_targets() if instruction in other.dot_instructions]
        raise TargetError(
            f"target {target.id} has no {instruction}; targets that have it: {', '.join(having)}"
        )


def _find(name: str) -> Target:
    if name.endswith(".toml"):
        return _read(Path(name))
    files = _files()
    if name not in files:
        raise TargetError(f"unknown target {name!r}; {_suggest(name, [HOST, *files])}")
    return _read(files[name])


def detect_host(device: LocalDevice | None = None, instruction: str = "") -> Target:
    """Choose the best installed target that a machine can run.

    Parameters
    ----------
    device : LocalDevice, optional
        The machine; this one if left out.
    instruction : str
        Targets that have it are preferred, whatever their rank.

    Returns
    -------
    Target
        With `num_cores` of the machine.

    Raises
    ------
    TargetError
        If no installed target fits.
    """
    machine = device or LocalDevice.detect()
    processors = [target for target in list_targets() if not isinstance(target, CudaTarget)]
    known = sorted(processors, key=lambda t: instruction not in ("", *t.dot_instructions))
    for target in known:
        if _suits(target, machine):
            return dataclasses.replace(target, num_cores=machine.cores)
    raise TargetError(
        f"no installed target fits this machine ({machine.architecture}, {machine.cpu_model}); "
        "see bnn-tvm targets, or describe it in a TOML file and name that with --target"
    )


def _suits(target: Target, machine: LocalDevice) -> bool:
    """Tell whether a machine runs code for a target, and there is no better choice for it."""
    runs = target.architecture == machine.architecture and not machine.lacks(target.cpu_flags)
    return runs and machine.flags.isdisjoint(target.unless_cpu_flags)


def _files() -> dict[str, Traversable]:
    folder = importlib.resources.files("bnn_tvm.targets")
    files = (file for file in folder.iterdir() if file.name.endswith(".toml"))
    return {file.name.removesuffix(".toml"): file for file in sorted(files, key=lambda f: f.name)}


def _read(file: Traversable) -> Target:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise TargetError(f"cannot read the target file {file}: {exc.strerror}") from exc
    except ValueError as exc:
        raise TargetError(f"{file.name} is not TOML: {exc}") from exc
    form = CudaTarget if data.get("kind") == _CUDA else Target
    target = decode(form, data, file.name, TargetError)
    if f"{target.id}.toml" != file.name:
        raise TargetError(f"{file.name}: id must be the file's name, not {target.id!r}")
    return target


def _suggest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}? (bnn-tvm targets lists all)"
    return f"known are {', '.join(known)}"
