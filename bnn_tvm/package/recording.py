"""What a network gives for recorded input, so that any machine can check that it gives the same."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import PackageError
from .manifest import TensorInfo

# Recorded inputs are whole numbers divided by this: exact in float32 and small in a file.
INPUT_SCALE = 32

Arrays = tuple[np.ndarray, ...]

_FOLDER = "selftest"
_PATTERN = f"{_FOLDER}/pattern.npy"


@dataclass(frozen=True)
class Recording:
    """Inputs and what the network gives for them.

    Attributes
    ----------
    pattern : np.ndarray
        int8; divided by `INPUT_SCALE` and repeated, the numbers of all inputs one after the other.
    outputs : tuple of np.ndarray
        As the network gives them. What is not finite is not compared.
    tolerance : float
        Largest difference between outputs of machines that round differently.
    """

    pattern: np.ndarray
    outputs: Arrays
    tolerance: float

    def inputs(self, infos: Sequence[TensorInfo]) -> Arrays:
        """Make the inputs that the pattern stands for."""
        return spread(self.pattern, infos)

    def to_files(self) -> dict[str, bytes]:
        """Write the arrays as ``.npy`` files, by their names in a package."""
        arrays = {_output_name(i): output for i, output in enumerate(self.outputs)}
        return {
            name: _npy_bytes(array) for name, array in {_PATTERN: self.pattern, **arrays}.items()
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], tolerance: float) -> Recording:
        """Read what `to_files` wrote.

        Raises
        ------
        PackageError
            If a file is missing or no array.
        """
        names = [_PATTERN, *(_output_name(i) for i in range(len(files) - 1))]
        if set(names) != set(files):
            raise PackageError(
                f"the self-test's files are {', '.join(files)}, not {', '.join(names)}"
            )
        pattern, *outputs = (_read_npy(name, files[name]) for name in names)
        if pattern.dtype != np.int8 or pattern.ndim != 1 or not pattern.size:
            raise PackageError(f"{_PATTERN} must hold a row of int8 numbers")
        return cls(pattern, tuple(outputs), tolerance)


def spread(pattern: np.ndarray, infos: Sequence[TensorInfo]) -> Arrays:
    """Fill tensors with a pattern, one after the other and again from its start."""
    sizes = [math.prod(info.shape) for info in infos]
    numbers = np.resize(pattern, sum(sizes)) / INPUT_SCALE
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    return tuple(
        part.astype(info.dtype).reshape(info.shape) for part, info in zip(parts, infos, strict=True)
    )


def _output_name(index: int) -> str:
    return f"{_FOLDER}/output{index}.npy"


def _npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _read_npy(name: str, content: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as exc:
        raise PackageError(f"{name} in the package is no array ({exc})") from exc
