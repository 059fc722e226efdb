"""Images that fit into memory, and how they are varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Batch = tuple[np.ndarray, np.ndarray]
"""Images (N, C, H, W), float32, and labels (N,)."""


class Images(Protocol):
    """Labelled images by number."""

    def __len__(self) -> int:
        """Return the number of images."""

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> Batch:
        """Load some images; a generator varies them, None leaves them as they are."""


@dataclass(frozen=True)
class ArrayImages:
    """Images in memory.

    Attributes
    ----------
    images : numpy.ndarray
        (N, C, H, W), float32 in [0, 1] or uint8.
    labels : numpy.ndarray
        (N,), int64.
    reach : int
        Pixels by which images are moved at random, at most, along both axes.
    flips : bool
        Mirror half of the images.
    mean, std : tuple of float
        Of each channel, in the unit of [0, 1]; taken off, and divided by, at the end.
    """

    images: np.ndarray
    labels: np.ndarray
    reach: int = 0
    flips: bool = False
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None) -> Batch:
        """Load some images."""
        images = self.images[indices]
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / 255
        if rng is not None:
            images = self._vary(images, rng)
        return normalize(images, self.mean, self.std), self.labels[indices]

    def _vary(self, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        moved = shift(images, rng, self.reach)
        return flip(moved, rng) if self.flips else moved


def normalize(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Take off the mean of each channel and divide by the standard deviation."""
    offset, scale = (np.array(x, np.float32).reshape(1, -1, 1, 1) for x in (mean, std))
    return (images - offset) / scale


def shift(images: np.ndarray, rng: np.random.Generator, reach: int) -> np.ndarray:
    """Move each image by up to ``reach`` pixels along both axes; the border is black.

    Parameters
    ----------
    images : numpy.ndarray
        (N, C, H, W).
    rng : numpy.random.Generator
        Source of the moves.
    reach : int
        In pixels.
    """
    height, width = images.shape[2:]
    border = (reach, reach)
    padded = np.pad(images, ((0, 0), (0, 0), border, border))
    corners = rng.integers(0, 2 * reach + 1, size=(len(images), 2))
    return np.stack(
        [
            image[:, y : y + height, x : x + width]
            for image, (y, x) in zip(padded, corners, strict=True)
        ]
    )


def flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror each image of (N, C, H, W) with a probability of one half."""
    mirrored = rng.random(len(images)) < 0.5
    return np.where(mirrored[:, None, None, None], images[..., ::-1], images)
