"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_tvm.errors import InputError
from bnn_tvm.zoo.mnist import Digits, load_digits
from training.images import ArrayImages, Batch, Images
from training.photos import AUGMENTATIONS, Photos, read_folder, read_records
from training.settings import Settings

_MNIST_REACH, _CIFAR_REACH = 2, 4
_CIFAR_SIDE = 32
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_IMAGENET_CLASSES = 1000
_RECORD_NAMES = (("train.rec", "val.rec"), ("imagenet1k-train.rec", "imagenet1k-val.rec"))


@dataclass(frozen=True)
class Part:
    """Some of the images of a set.

    Attributes
    ----------
    images : Images
        The set.
    indices : numpy.ndarray
        Numbers of the images that belong to the part.
    """

    images: Images
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, positions: np.ndarray, rng: np.random.Generator | None = None) -> Batch:
        """Load the images at some positions of the part; a generator varies them."""
        return self.images.batch(self.indices[positions], rng)


@dataclass(frozen=True)
class Data:
    """What a training needs of a data set.

    Attributes
    ----------
    train, validation, test : Part
        ``validation`` may be empty. ``test`` is never used for a choice.
    classes : int
        Number of classes.
    shape : tuple of int
        Channels, height and width of an image.
    """

    train: Part
    validation: Part
    test: Part
    classes: int
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class _Source:
    train: Images
    test: Images
    classes: int
    shape: tuple[int, int, int]


def load_data(settings: Settings, folder: Path | None, pool: ThreadPoolExecutor) -> Data:
    """Open the data set of a training and split it.

    Parameters
    ----------
    settings : Settings
        Names the set, and how much of it serves for validation.
    folder : pathlib.Path, optional
        Where the files of CIFAR or ImageNet are.
    pool : concurrent.futures.ThreadPoolExecutor
        Decodes photographs.

    Raises
    ------
    InputError
        Files are missing or broken, or there are too few images.
    """
    source = _SOURCES[settings.dataset](settings, folder, pool)
    train, validation = _split(len(source.train), settings)
    if len(train) < settings.batch_size:
        raise InputError(
            f"Option --batch-size={settings.batch_size} is more than the {len(train)} images for "
            "training. Give a smaller one."
        )
    return Data(
        Part(source.train, train),
        Part(source.train, validation),
        Part(source.test, np.arange(len(source.test))),
        source.classes,
        source.shape,
    )


def _split(count: int, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    indices = np.arange(count)
    held_out = round(count * settings.validation)
    if held_out:
        indices = np.random.default_rng(settings.seed).permutation(count)
    return indices[held_out:][: settings.limit or None], indices[:held_out]


def _load_mnist(settings: Settings, folder: Path | None, pool: ThreadPoolExecutor) -> _Source:
    def images(digits: Digits) -> Images:
        return ArrayImages(digits.images, digits.labels, reach=_MNIST_REACH)

    train, held_out = load_digits()
    return _Source(images(train), images(held_out), 10, train.images.shape[1:])


def _load_cifar(
    folder: Path | None, names: tuple[tuple[str, ...], str], label_bytes: int, classes: int
) -> _Source:
    train, test = (
        _read_cifar([_find(folder, name) for name in part], label_bytes, classes)
        for part in (names[0], (names[1],))
    )
    return _Source(train, test, classes, (3, _CIFAR_SIDE, _CIFAR_SIDE))


def _find(folder: Path | None, name: str) -> Path:
    """Find a file in the folder or one level below."""
    if folder is None:
        raise InputError("The folder of the data set is missing. Give it with --data-dir.")
    for candidate in (folder / name, *sorted(folder.glob(f"*/{name}"))):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"File '{folder / name}' does not exist. Unpack CIFAR's binary version for C programs."
    )


def _read_cifar(files: list[Path], label_bytes: int, classes: int) -> ArrayImages:
    """Read records of label bytes, of which the last counts, and 3 x 32 x 32 bytes of colours."""
    size = label_bytes + 3 * _CIFAR_SIDE**2
    raw = [np.fromfile(file, dtype=np.uint8) for file in files]
    broken = [file for file, content in zip(files, raw, strict=True) if len(content) % size]
    records = np.concatenate([content[: len(content) // size * size] for content in raw])
    records = records.reshape(-1, size)
    labels = records[:, label_bytes - 1].astype(np.int64)
    if broken or not len(labels) or labels.max() >= classes:
        raise InputError(
            f"File '{(broken or files)[0]}' is not CIFAR's binary version. Download it again."
        )
    images = records[:, label_bytes:].reshape(-1, 3, _CIFAR_SIDE, _CIFAR_SIDE)
    return ArrayImages(images, labels, _CIFAR_REACH, True, _CIFAR_MEAN, _CIFAR_STD)


def _load_cifar10(settings: Settings, folder: Path | None, pool: ThreadPoolExecutor) -> _Source:
    parts = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
    return _load_cifar(folder, (parts, "test_batch.bin"), label_bytes=1, classes=10)


def _load_cifar100(settings: Settings, folder: Path | None, pool: ThreadPoolExecutor) -> _Source:
    return _load_cifar(folder, (("train.bin",), "test.bin"), label_bytes=2, classes=100)


def _load_imagenet(settings: Settings, folder: Path | None, pool: ThreadPoolExecutor) -> _Source:
    if folder is None:
        raise InputError("The folder of the data set is missing. Give it with --data-dir.")
    for names in _RECORD_NAMES:
        if all((folder / name).is_file() for name in names):
            readers = [read_records(folder / name) for name in names]
            return _photo_source(settings, readers, _IMAGENET_CLASSES, pool)
    if not all((folder / name).is_dir() for name in ("train", "val")):
        raise InputError(
            f"Folder '{folder}' holds no ImageNet. It needs train.rec, train.idx, val.rec and "
            "val.idx, or the folders train and val with one folder for each class."
        )
    found = [read_folder(folder / name) for name in ("train", "val")]
    if found[0][2] != found[1][2]:
        raise InputError(
            f"Folders train and val in '{folder}' have {found[0][2]} and {found[1][2]} classes. "
            "Place the same folders in both."
        )
    return _photo_source(settings, [(read, n) for read, n, _ in found], found[0][2], pool)


def _photo_source(
    settings: Settings, readers: list, classes: int, pool: ThreadPoolExecutor
) -> _Source:
    size, vary = settings.image_size, AUGMENTATIONS[settings.augmentation]
    train, test = (Photos(read, count, size, vary, pool) for read, count in readers)
    return _Source(train, test, classes, (3, size, size))


_SOURCES: dict[str, Callable[[Settings, Path | None, ThreadPoolExecutor], _Source]] = {
    "mnist": _load_mnist,
    "cifar10": _load_cifar10,
    "cifar100": _load_cifar100,
    "imagenet": _load_imagenet,
}
