"""What a package says about itself, as frozen records that read and write strict JSON.

Only the standard library is used, so that an edge device can read a manifest with
nothing but Python, numpy and the TVM runtime.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from ..errors import PackageError
from .fields import decode, encode
from .precision import EXACT, PrecisionInfo

SCHEMA_VERSION = 1

# The element sizes in bytes of every dtype that a package's tensors may have.
DTYPE_BYTES = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
}

KERNEL_SOURCES = ("tuned", "hand", "portable")

# The kind of the nodes that stand for the model's inputs.
INPUT = "input"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PackageError(message)


@dataclass(frozen=True)
class TensorInfo:
    """One tensor that crosses a border: an input, an output or a kernel's argument.

    Attributes
    ----------
    name : str
        The model's name for it, or the kernel's.
    shape : tuple of int
        Static extents, in elements; words if the tensor is packed.
    dtype : str
        A key of `DTYPE_BYTES`.
    layout : str
        Axis letters such as ``NCHW`` or ``NHWC``; empty where there is no convention.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str

    def __post_init__(self) -> None:
        _require(self.dtype in DTYPE_BYTES, f"tensor {self.name!r}: unknown dtype {self.dtype!r}")
        _require(
            all(extent > 0 for extent in self.shape),
            f"tensor {self.name!r}: shape {list(self.shape)} has an extent below 1",
        )

    @property
    def nbytes(self) -> int:
        """Size of the dense tensor in bytes."""
        return math.prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class TargetInfo:
    """What the library was compiled for, and what a machine must have to run it.

    Attributes
    ----------
    id : str
        Name of the target description, such as ``x86-64-avx2``.
    triple : str
        LLVM triple; its first part is the architecture.
    cpu : str
        LLVM's CPU name.
    features : tuple of str
        CPU flags as Linux names them in ``/proc/cpuinfo``; all must be present.
    num_cores : int
        Cores that the schedules were made for.
    gpu : str
        Architecture of the GPU that runs it, such as ``sm_80``; empty if none does.
    """

    id: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    num_cores: int
    gpu: str = ""


@dataclass(frozen=True)
class KernelInfo:
    """One function of the library.

    Attributes
    ----------
    name : str
        Its symbol in the library.
    kind : str
        The algorithm: ``bitserial_conv2d``, ``conv2d``, ``bitpack``, ...
    layers : tuple of str
        The model's nodes that it covers.
    arguments : tuple of TensorInfo
        In call order, outputs last.
    num_outputs : int
        How many of the last arguments are written.
    macs : int
        Multiply-accumulates of one call.
    binary : bool
        Whether these are bit operations.
    rule : str
        The schedule rule that matched.
    source : str
        Where the schedule came from: one of `KERNEL_SOURCES`.
    note : str
        The choices of a tuned schedule, or why a tuning record was not used; else empty.
    calls : int
        How often one inference calls it.
    """

    name: str
    kind: str
    layers: tuple[str, ...]
    arguments: tuple[TensorInfo, ...]
    num_outputs: int
    macs: int
    binary: bool
    rule: str
    source: str
    note: str
    calls: int = 1

    def __post_init__(self) -> None:
        _require(
            self.source in KERNEL_SOURCES,
            f"kernel {self.name!r}: unknown schedule source {self.source!r}",
        )
        _require(
            0 < self.num_outputs <= len(self.arguments),
            f"kernel {self.name!r}: {self.num_outputs} outputs among "
            f"{len(self.arguments)} arguments",
        )


@dataclass(frozen=True)
class LayerInfo:
    """One convolution or dense layer of the model, and what became of it.

    Attributes
    ----------
    name : str
        The model's node name.
    op : str
        ``conv2d`` or ``dense``.
    lowered : bool
        Whether it runs on packed bits.
    reason : str
        Why not, in words; empty if lowered.
    kernel : str
        Name of the `KernelInfo` that computes it.
    input_shape, output_shape, weight_shape : tuple of int
        As the model has them; the input before the layer's padding.
    weight_bits, activation_bits : int
        32 for float.
    macs : int
        Multiply-accumulates of one inference.
    weight_bytes : int
        As stored in the package.
    padding : str
        Extents and value, such as ``"1,1 value -1"``.
    epilogue : str
        What is fused behind the layer, such as ``"offset+batchnorm+add+sign+pack"``.
    """

    name: str
    op: str
    lowered: bool
    reason: str
    kernel: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    weight_bits: int
    activation_bits: int
    macs: int
    weight_bytes: int
    padding: str
    epilogue: str

    def __post_init__(self) -> None:
        _require(
            self.lowered != bool(self.reason),
            f"layer {self.name!r}: a reason belongs to a layer that is not lowered, and only there",
        )


@dataclass(frozen=True)
class NodeInfo:
    """One operation of the lowered graph.

    Attributes
    ----------
    name : str
        The model's node that it computes; of several fused ones, the layer's.
    kind : str
        ``bitserial_conv2d``, ``max_pool2d``, ``elementwise``, ``concat``, ...; `INPUT` of an
        input.
    kernel : str
        Name of the `KernelInfo` that computes it; empty for inputs and for what is left to TVM's
        operator library.
    epilogue : str
        What is fused behind the operation, such as ``"batchnorm+add"``.
    inputs : tuple of int
        Positions in `Manifest.graph` of what it reads, the data of a layer first. A node is named
        twice if it gives both numbers and bits.
    """

    name: str
    kind: str
    kernel: str
    epilogue: str
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class FileInfo:
    """One member of the package file.

    Attributes
    ----------
    path : str
        Relative, with forward slashes.
    role : str
        ``library`` is what `Session` loads, ``selftest`` recorded numbers, ``c`` a file of a C
        library.
    size : int
        Bytes when unpacked.
    sha256 : str
        Hexadecimal digest of the unpacked bytes.
    """

    path: str
    role: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything that a package says about itself.

    Attributes
    ----------
    schema_version : int
        `SCHEMA_VERSION` of the writer.
    name : str
        The model's name.
    versions : dict of str to str
        Versions of what made the package, such as ``tvm`` and ``bnn_tvm``.
    target : TargetInfo
    inputs, outputs : tuple of TensorInfo
        Of the function ``main``, in call order.
    kernels : tuple of KernelInfo
    layers : tuple of LayerInfo
    other_parameters : int
        Learned numbers beside the layers' weights: biases, and BatchNorm's gamma and beta. Its
        moving statistics can be folded into these and do not count.
    graph : tuple of NodeInfo
        In order of execution, the model's inputs first.
    precision : PrecisionInfo
        In what the layers that do not run on bits are computed, and what that changes.
    self_test_tolerance : float
        Largest difference between what a machine gives in the self-test and what is recorded.
    images_at_a_time : int
        How many images of a batch run through the layers before the last dense ones before the
        next ones do; 0 if all run together.
    files : tuple of FileInfo
        Filled in by the writer.
    """

    schema_version: int
    name: str
    versions: dict[str, str]
    target: TargetInfo
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    kernels: tuple[KernelInfo, ...]
    layers: tuple[LayerInfo, ...]
    other_parameters: int
    graph: tuple[NodeInfo, ...]
    precision: PrecisionInfo = EXACT
    self_test_tolerance: float = 0.0
    images_at_a_time: int = 0
    files: tuple[FileInfo, ...] = ()

    def __post_init__(self) -> None:
        _check_version(self.schema_version)
        for what, names in (
            ("input", [t.name for t in self.inputs]),
            ("kernel", [k.name for k in self.kernels]),
        ):
            _require(len(set(names)) == len(names), f"manifest names one {what} twice")
        for position, node in enumerate(self.graph):
            _require(
                all(0 <= index < position for index in node.inputs),
                f"node {node.name!r} reads what does not come before it",
            )

    def to_json(self) -> str:
        """Write the manifest as JSON text, the same text for equal manifests."""
        return json.dumps(encode(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read JSON text.

        Raises
        ------
        PackageError
            If the text is not JSON, has unknown or missing keys, values of a wrong
            type, or another schema version.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise PackageError(
                f"the manifest is not JSON ({exc}); compile the model again"
            ) from exc
        # Another version's keys would look like errors: look at the version first.
        if isinstance(data, dict):
            _check_version(data.get("schema_version", SCHEMA_VERSION))
        return decode(cls, data, "manifest", PackageError)

    def kernel(self, name: str) -> KernelInfo:
        """Find a kernel by its symbol.

        Raises
        ------
        PackageError
            If there is none of that name.
        """
        for kernel in self.kernels:
            if kernel.name == name:
                return kernel
        known = ", ".join(k.name for k in self.kernels) or "none"
        raise PackageError(f"the package has no kernel {name!r}; it has {known}")


def _check_version(version: object) -> None:
    _require(
        version == SCHEMA_VERSION,
        f"package schema version {version} is not {SCHEMA_VERSION}, the only one that this "
        "bnn_tvm reads; compile the model again or install a matching bnn_tvm",
    )
