"""Tiny data sets and settings for the tests of the training script."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from training.datasets import Data, Part
from training.images import ArrayImages
from training.settings import Settings

CIFAR10_FILES = (*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin")

SMALL = {
    "dataset": "cifar10",
    "model": "densenet_flex",
    "block_config": (1, 1),
    "reduction": (2,),
    "growth_rate": 32,
    "init_features": 32,
    "epochs": 3,
    "batch_size": 8,
    "validation": 0.2,
}


def settings(**changes) -> Settings:
    return Settings(**{**SMALL, **changes})


def options_of(values) -> list[str]:
    """Settings as words of a command line."""
    words = {name.replace("_", "-"): value for name, value in values.items()}
    return [f"--{name}={_text(value)}" for name, value in words.items()]


def _text(value) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def bright_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32), uint8, whose brightness tells the class, and the classes 0 and 1."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 120, (count, 3, 32, 32)) + 120 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


def write_cifar10(folder, count: int = 16) -> None:
    """Write the files of CIFAR-10's binary version with few images each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(CIFAR10_FILES):
        images, labels = bright_images(count, number)
        records = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(count, -1)], 1)
        records.tofile(folder / name)


def bright_data(count: int = 40) -> Data:
    """A data set in memory, a fifth of it for validation."""
    images, labels = bright_images(count, 0)
    everything = ArrayImages(images, labels, reach=2, flips=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    held_out = count // 5
    numbers = np.arange(count)
    parts = (numbers[held_out:], numbers[:held_out], numbers[:held_out])
    return Data(*(Part(everything, part) for part in parts), 2, (3, 32, 32))


def parameters(net) -> dict[str, np.ndarray]:
    return {name: p.data().asnumpy() for name, p in net.collect_params().items()}


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode (H, W, 3), uint8, red first, as a PNG file."""
    height, width = pixels.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
