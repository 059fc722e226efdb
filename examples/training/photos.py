"""Encoded photographs, in folders or in RecordIO files, decoded and varied when they are used."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import mxnet as mx
import numpy as np

from bnn_tvm.errors import InputError
from training.images import Batch, normalize

_MEAN = (123.68, 116.779, 103.939)
_STD = (58.393, 57.12, 57.375)
_CROP_SHARE = 0.875  # of the short side, when an image is not cropped at random
_AREAS, _ASPECTS, _ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10
_JITTER, _LIGHTING = 0.4, 0.1
_GRAY = np.array((0.299, 0.587, 0.114), np.float32)
# Principal components of the colours of ImageNet (AlexNet, NIPS 2012), scaled to 0..255.
_COLOUR_SPREAD = np.array((55.46, 4.794, 1.148), np.float32)
_COLOUR_AXES = np.array(
    (
        (-0.5675, 0.7192, 0.4009),
        (-0.5808, -0.0045, -0.8140),
        (-0.5836, -0.6948, 0.4203),
    ),
    np.float32,
)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")

Read = Callable[[int], tuple[bytes, int]]
Vary = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Photos:
    """Encoded images and the way in which they become batches.

    Attributes
    ----------
    read : callable
        Gives the file and the label of an image by its number.
    count, size : int
        Number of images, and height and width of what the network sees.
    vary : callable
        Crops an image (H, W, 3) at random to ``size`` and changes it.
    pool : concurrent.futures.ThreadPoolExecutor
        Decodes images at the same time.
    """

    read: Read
    count: int
    size: int
    vary: Vary
    pool: ThreadPoolExecutor = field(repr=False)

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> Batch:
        """Load some images; each has a generator of its own, so that threads change nothing."""
        seeds = [None] * len(indices) if rng is None else rng.integers(2**63, size=len(indices))
        loaded = list(self.pool.map(self._load, indices.tolist(), list(seeds)))
        images = np.stack([image for image, _ in loaded]).transpose(0, 3, 1, 2)
        return normalize(images, _MEAN, _STD), np.array([label for _, label in loaded])

    def _load(self, index: int, seed: int | None) -> tuple[np.ndarray, int]:
        content, label = self.read(index)
        image = _decode(content, index)
        if seed is None:
            return _centre(image, self.size), label
        return self.vary(image, self.size, np.random.default_rng(seed)), label


def _decode(content: bytes, index: int) -> np.ndarray:
    try:
        return mx.image.imdecode(content).asnumpy().astype(np.float32)
    except mx.MXNetError as error:
        raise InputError(
            f"Image number {index} cannot be decoded. Check the data set for broken files."
        ) from error


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    return mx.image.imresize(mx.nd.array(image), width, height).asnumpy()


def _resize_short(image: np.ndarray, size: int) -> np.ndarray:
    height, width = image.shape[:2]
    scale = math.ceil(size / _CROP_SHARE) / min(height, width)
    return _resize(image, max(size, round(width * scale)), max(size, round(height * scale)))


def _crop(image: np.ndarray, y: int, x: int, size: int) -> np.ndarray:
    return image[y : y + size, x : x + size]


def _centre(image: np.ndarray, size: int) -> np.ndarray:
    resized = _resize_short(image, size)
    height, width = resized.shape[:2]
    return _crop(resized, (height - size) // 2, (width - size) // 2, size)


def _mirror(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image[:, ::-1] if rng.random() < 0.5 else image


def _crop_anywhere(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    resized = _resize_short(image, size)
    height, width = resized.shape[:2]
    y, x = rng.integers(height - size + 1), rng.integers(width - size + 1)
    return _mirror(_crop(resized, y, x, size), rng)


def _crop_any_part(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut out a part of random area and aspect and resize it (arXiv:1409.4842)."""
    height, width = image.shape[:2]
    for _ in range(_ATTEMPTS):
        area = rng.uniform(*_AREAS) * height * width
        aspect = math.exp(rng.uniform(*np.log(_ASPECTS)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return _mirror(_resize(image[y : y + h, x : x + w], size, size), rng)
    return _mirror(_centre(image, size), rng)


def _recolour(image: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Crop, then change brightness, contrast, saturation and light."""
    image = _crop_any_part(image, size, rng)
    factors = rng.uniform(1 - _JITTER, 1 + _JITTER, 3).astype(np.float32)
    brightness, contrast, saturation = factors
    image = image * brightness
    gray = image @ _GRAY
    image = image * contrast + gray.mean() * (1 - contrast)
    image = image * saturation + (image @ _GRAY)[..., None] * (1 - saturation)
    light = rng.normal(0, _LIGHTING, 3).astype(np.float32)
    return image + _COLOUR_AXES @ (light * _COLOUR_SPREAD)


AUGMENTATIONS: dict[str, Vary] = {
    "low": _crop_anywhere,
    "medium": _crop_any_part,
    "high": _recolour,
}


def read_folder(folder: Path) -> tuple[Read, int, int]:
    """Return the reader of ``folder/CLASS/IMAGE``, the number of images and of classes.

    Raises
    ------
    InputError
        The folder holds no images.
    """
    classes = sorted(child for child in folder.iterdir() if child.is_dir())
    files = [
        (file, label)
        for label, child in enumerate(classes)
        for file in sorted(child.iterdir())
        if file.suffix.lower() in _SUFFIXES
    ]
    if not files:
        raise InputError(f"Folder '{folder}' holds no images. Place one folder for each class in.")

    def read(index: int) -> tuple[bytes, int]:
        file, label = files[index]
        return file.read_bytes(), label

    return read, len(files), len(classes)


def read_records(records: Path) -> tuple[Read, int]:
    """Return the reader of a ``.rec`` file with its ``.idx`` beside it, and the number of images.

    Raises
    ------
    InputError
        The index is missing or empty.
    """
    index_file = records.with_suffix(".idx")
    if not index_file.is_file():
        raise InputError(f"Index '{index_file}' does not exist. Make it with MXNet's im2rec.")
    file = mx.recordio.MXIndexedRecordIO(str(index_file), str(records), "r")
    lock = threading.Lock()
    if not file.keys:
        raise InputError(f"Index '{index_file}' is empty. Make it again with MXNet's im2rec.")

    def read(index: int) -> tuple[bytes, int]:
        with lock:  # seeks, then reads
            record = file.read_idx(file.keys[index])
        header, content = mx.recordio.unpack(record)
        return content, int(np.ravel(header.label)[0])

    return read, len(file.keys)
