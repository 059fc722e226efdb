"""What is timed on a GPU: a product of bits, layers and networks, as one instruction computes them.

What is needed here is there without the compiler, MXNet or a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cases import DENSENET28, MELIUSNET22, RESNET_E18
from ..cases import LAYERS as BLOCKS

MMA, WGMMA = "mma", "wgmma"
"""Who multiplies bits: a warp, which is what is taken by hand, or four of them."""

PRODUCT_SIZE = 8192
"""Rows, columns and bits of K of the product."""

WORD_BITS = 32

LAYER_BATCH, LARGE_BATCH = 64, 256

PEAK_FILE, TARGET_FILE = "peak.fatbin", "target.txt"
PACKAGE, LIBRARY = ".bnn", ".so"


@dataclass(frozen=True)
class Work:
    """One thing to time.

    Attributes
    ----------
    name : str
        Of the product, the layer or the network.
    batch : int
        Images; 0 of a product.
    """

    name: str
    batch: int = 0

    @property
    def title(self) -> str:
        """Such as ``3x3 56x56x64, batch 64``."""
        return f"{self.name}, batch {self.batch}" if self.batch else self.name

    @property
    def is_network(self) -> bool:
        """Whether it is a package; else it is a kernel alone."""
        return self in NETWORKS

    def place(self, folder: Path) -> Path:
        """Say where its files lie: one for each way to compute it, named after that."""
        return folder / self.title.replace(",", "").replace(" ", "-")

    def operands(self, folder: Path) -> Path:
        """Say where the constants of a kernel lie, and what it must give."""
        return self.place(folder) / "operands.npz"

    def files(self, folder: Path) -> dict[str, Path]:
        """Find the files that were prepared, by what computes it there."""
        found = sorted(self.place(folder).glob(f"*{PACKAGE if self.is_network else LIBRARY}"))
        return {path.stem: path for path in found}


PRODUCT = Work(f"product {PRODUCT_SIZE}^3")
"""Packed in, int32 out."""

LAYERS = {Work(block.name, LAYER_BATCH): block for block in BLOCKS}
"""3x3 layers that read and write bits."""

LATENCY, THROUGHPUT = (Work(RESNET_E18, 1), Work(RESNET_E18, 8)), Work(RESNET_E18, LARGE_BATCH)
NETWORKS = (*LATENCY, THROUGHPUT, Work(DENSENET28, 1), Work(MELIUSNET22, 1))
"""At 224 x 224."""

ALL = (PRODUCT, *LAYERS, *NETWORKS)


def draw_words(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Draw words of random bits."""
    return np.random.default_rng(seed).integers(0, 2**WORD_BITS, shape, dtype=np.uint32)
