"""Read and write ``.npy`` files that nobody vouches for."""

from __future__ import annotations

import io
import tokenize
from pathlib import Path

import numpy as np

from ..errors import InputError

# What numpy lets through from the parsers it reads a header with, besides its own ValueError.
_BROKEN = (ValueError, TypeError, EOFError, MemoryError, SyntaxError, tokenize.TokenError)


def read_npy(path: Path) -> np.ndarray:
    """Read an array; pickled objects are refused.

    Raises
    ------
    InputError
        If the file is missing or does not hold exactly one plain array.
    """
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except OSError as exc:
        raise InputError(f"cannot read the input {path}: {exc.strerror}") from exc
    except _BROKEN as exc:
        raise InputError(
            f"input {path} is not a .npy array ({exc}); write it with numpy.save"
        ) from exc


def npy_bytes(array: np.ndarray) -> bytes:
    """Make the content of a ``.npy`` file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
