"""What is timed: which models, by whom, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from .peaks import BINARY, BINARY_AVX2, FMA, INT8, L1, L2

OURS, OPENVINO, ONNXRUNTIME, MXNET = "ours", "OpenVINO", "onnxruntime", "MXNet"
HOST, AVX2 = "host", "x86-64-avx2"
F32, BF16, INT8_PRECISION = "f32", "bf16", "int8"
WHOLE = -1


@dataclass(frozen=True)
class Block:
    """The repeated part of a binary residual network.

    Attributes
    ----------
    size, channels : int
        Rows (as many as columns) and channels of its images.
    kernel : int
        Rows (as many as columns) of its binary convolution.
    """

    size: int
    channels: int
    kernel: int

    @property
    def name(self) -> str:
        """Such as ``3x3 56x56x64``."""
        return f"{self.kernel}x{self.kernel} {self.size}x{self.size}x{self.channels}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return (self.size * self.channels * self.kernel) ** 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image."""
        return (self.channels, self.size, self.size)


_STAGES = ((56, 64), (28, 128), (14, 256), (7, 512))
BLOCKS = tuple(Block(*stage, kernel) for kernel in (3, 1) for stage in _STAGES)
LAYERS = BLOCKS[: len(_STAGES)]
SHORT_CHAIN, LONG_CHAIN = 2, 6
# Of the chain of layers on bits: the one that reads and writes bits.
BITS_LENGTH, BITS_LAYER = 3, 1

RESNET_E18, DENSENET28, MELIUSNET22 = "resnet18_e1", "densenet28", "meliusnet22"
NETWORKS = (RESNET_E18, DENSENET28, MELIUSNET22)
RESNET18 = "resnet18"
IMAGE = (3, 224, 224)
BATCH = 32


@dataclass(frozen=True)
class Entry:
    """One model as one engine runs it.

    Attributes
    ----------
    label : str
        Unique in its case.
    engine : str
        `OURS`, `OPENVINO`, `ONNXRUNTIME` or `MXNET`.
    model : str
        Name of a model that `prepare` builds.
    target : str
        What it is compiled for, if by us.
    precision : str
        Of float layers: `F32`, `BF16` or `INT8_PRECISION`.
    threads : int
    layer : int
        Position of the layer whose kernel is timed alone, or `WHOLE`.
    """

    label: str
    engine: str
    model: str
    target: str = HOST
    precision: str = F32
    threads: int = 1
    layer: int = WHOLE


@dataclass(frozen=True)
class Case:
    """Entries that are timed in turn, in a process of their own, between the machine's peaks.

    Attributes
    ----------
    name : str
    entries : tuple of Entry
    peaks : tuple of str
        Which of the machine's peaks are measured in the same rounds.
    kernels : str
        Label of an entry of ours whose kernels are timed alone, too; empty if none.
    flags : tuple of str
        What the CPU must have for it, as in ``/proc/cpuinfo``.
    """

    name: str
    entries: tuple[Entry, ...]
    peaks: tuple[str, ...] = ()
    kernels: str = ""
    flags: tuple[str, ...] = ()

    @property
    def threads(self) -> int:
        """Cores that it needs."""
        return max((entry.threads for entry in self.entries), default=1)


def all_cases() -> tuple[Case, ...]:
    """List every case."""
    return (
        PEAKS,
        *map(block_case, BLOCKS),
        *map(layer_case, LAYERS),
        *map(network_case, NETWORKS),
        LOWER_PRECISION,
        FLOAT_PEERS,
        THREADS,
        BATCHES,
    )


PEAKS = Case("peaks", (), (BINARY, BINARY_AVX2, FMA, INT8, L1, L2))


def block_case(block: Block) -> Case:
    """Time two chains of different length, so that their difference is that of some blocks."""
    entries = tuple(
        Entry(chain_label(engine, length), engine, chain_name(block, length))
        for engine in (OURS, OPENVINO)
        for length in (SHORT_CHAIN, LONG_CHAIN)
    )
    return Case(f"block {block.name}", entries, (BINARY,))


def chain_label(engine: str, length: int) -> str:
    """Name an engine's chain in its case."""
    return f"{engine}, {length} blocks"


def chain_name(block: Block, length: int) -> str:
    """Name the model of a chain of blocks."""
    return f"chain {block.name} x{length}".replace(" ", "-")


def layer_case(block: Block) -> Case:
    """Time a layer that reads and writes bits, for both ways to count bits."""
    entries = tuple(
        Entry(target, OURS, bits_name(block), target=target, layer=BITS_LAYER)
        for target in (HOST, AVX2)
    )
    return Case(f"layer {block.name}", entries, (BINARY, BINARY_AVX2))


def bits_name(block: Block) -> str:
    """Name the model of layers on bits."""
    return f"bits {block.name}".replace(" ", "-")


OURS_BF16, OPENVINO_BF16 = f"{OURS}, {BF16} float layers", f"{OPENVINO}, {BF16}"
OURS_INT8 = f"{OURS}, {INT8_PRECISION} float layers"


def network_case(name: str) -> Case:
    """Time a network against OpenVINO's form of the same graph, and layer by layer."""
    entries = (
        Entry(OURS, OURS, name),
        Entry(OPENVINO, OPENVINO, name),
        Entry(OPENVINO_BF16, OPENVINO, name, precision=BF16),
    )
    return Case(f"network {name}", entries, (BINARY, FMA, L2), kernels=OURS)


LOWER_PRECISION = Case(
    "float layers in lower precision",
    (
        Entry(OURS, OURS, RESNET_E18),
        Entry(OURS_BF16, OURS, RESNET_E18, precision=BF16),
        Entry(OURS_INT8, OURS, RESNET_E18, precision=INT8_PRECISION),
        Entry(OPENVINO, OPENVINO, RESNET_E18),
        Entry(OPENVINO_BF16, OPENVINO, RESNET_E18, precision=BF16),
    ),
    (BINARY, FMA, INT8, L2),
    kernels=OURS_INT8,
    flags=("avx512_bf16", "avx512_vnni"),
)

FLOAT_PEERS = Case(
    "float ResNet-18",
    (
        Entry(OURS, OURS, RESNET_E18),
        Entry(OURS_INT8, OURS, RESNET_E18, precision=INT8_PRECISION),
        *(
            Entry(f"{engine}, {precision}", engine, RESNET18, precision=precision)
            for precision in (F32, INT8_PRECISION)
            for engine in (OPENVINO, ONNXRUNTIME, MXNET)
        ),
    ),
    flags=("avx512_vnni",),
)

THREADS = Case(
    "two threads",
    (Entry("1 thread", OURS, RESNET_E18), Entry("2 threads", OURS, RESNET_E18, threads=2)),
)


def batch_name(name: str) -> str:
    """Name the model of a network that takes `BATCH` images."""
    return f"{name} batch {BATCH}".replace(" ", "-")


BATCHES = Case(
    "batch",
    (Entry("batch 1", OURS, RESNET_E18), Entry(f"batch {BATCH}", OURS, batch_name(RESNET_E18))),
)
