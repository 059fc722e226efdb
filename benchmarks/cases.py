"""What is timed: which models, by whom, side by side."""

from __future__ import annotations

from dataclasses import dataclass

from .peaks import BINARY, BINARY_AVX2, FMA, INT8, L1, L2

OURS, OPENVINO = "ours", "OpenVINO"
_AVX2_TARGET = "x86-64-avx2"
HOST = "host"


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


STAGES = ((56, 64), (28, 128), (14, 256), (7, 512))
BLOCKS = tuple(Block(*stage, kernel) for kernel in (3, 1) for stage in STAGES)
SHORT_CHAIN, LONG_CHAIN = 2, 6


@dataclass(frozen=True)
class Entry:
    """One model as one engine runs it.

    Attributes
    ----------
    label : str
        Unique in its case.
    engine : str
        `OURS` or `OPENVINO`.
    model : str
        Name of a model that `prepare` builds.
    target : str
        What it is compiled for, if by us.
    precision : str
        Of float layers.
    """

    label: str
    engine: str
    model: str
    target: str = HOST
    precision: str = "f32"


@dataclass(frozen=True)
class Case:
    """Entries that are timed in turn, in a process of their own, between the machine's peaks.

    Attributes
    ----------
    name : str
    entries : tuple of Entry
    peaks : tuple of str
        Which of the machine's peaks are measured in the same rounds.
    threads : int
        Of every entry.
    """

    name: str
    entries: tuple[Entry, ...]
    peaks: tuple[str, ...]
    threads: int = 1


def all_cases() -> tuple[Case, ...]:
    """List every case."""
    return (Case("peaks", (), (BINARY, BINARY_AVX2, FMA, INT8, L1, L2)), *map(block_case, BLOCKS))


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
    """Name the model of a chain."""
    return f"chain {block.name} x{length}".replace(" ", "-")
