"""Reads `.params` files (MXNet's NDArray lists) of every header version, bits untouched.

A file is u64 magic, u64 reserved, u64 count, the arrays, u64 count, the names; a name is u64
length and UTF-8 bytes; everything is little endian. An array starts with a u32 that is either
a version magic or, in the oldest form, the number of dimensions.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ..errors import ModelError

LIST_MAGIC = 0x112
V1_MAGIC = 0xF993FAC8
V2_MAGIC = 0xF993FAC9
V3_MAGIC = 0xF993FACA

MAX_DIMENSIONS = 32
"""More than any MXNet array has, and numpy's own limit."""

BFLOAT16_FLAG = 12
"""Read as uint16 and widened: numpy has no bfloat16."""

DTYPES = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
    7: np.dtype("?"),
    8: np.dtype("<i2"),
    9: np.dtype("<u2"),
    10: np.dtype("<u4"),
    11: np.dtype("<u8"),
    BFLOAT16_FLAG: np.dtype("<u2"),
}
"""Type flag of the file to dtype."""

_HINT = "copy or export the file again"


def read_params(path: Path) -> dict[str, np.ndarray]:
    """Read a `.params` file.

    Parameters
    ----------
    path : the file

    Returns
    -------
    Name as in the file (with ``arg:`` or ``aux:``) to array. Float bits are those of the file,
    NaN patterns too; only bfloat16 is widened to float32.

    Raises
    ------
    ModelError
        The file is missing, cut off, damaged, sparse, or holds arrays without names.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"params file {path} cannot be read ({error.strerror}); name it with --params"
        ) from error
    try:
        return parse_params(content)
    except ModelError as error:
        raise ModelError(f"params file {path}: {error}") from error


def parse_params(content: bytes) -> dict[str, np.ndarray]:
    """Read the content of a `.params` file; see :func:`read_params`."""
    cursor = _Cursor(content)
    if cursor.number("<Q", "the magic number") != LIST_MAGIC:
        raise ModelError("it does not start as an NDArray list; name a .params file of MXNet")
    cursor.number("<Q", "the reserved word")
    count = cursor.number("<Q", "the number of arrays")
    arrays = [_read_array(cursor, f"array {i} of {count}") for i in _counted(cursor, count)]
    names = _read_names(cursor, count)
    cursor.expect_end()
    return dict(zip(names, arrays, strict=True))


class _Cursor:
    """A position in the content that cannot leave it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    @property
    def left(self) -> int:
        return len(self.content) - self.position

    def take(self, size: int, noun: str) -> bytes:
        if size > self.left:
            raise ModelError(f"it ends inside {noun} ({size} bytes, {self.left} left); {_HINT}")
        self.position += size
        return self.content[self.position - size : self.position]

    def number(self, layout: str, noun: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout), noun))[0])

    def expect_end(self) -> None:
        if self.left:
            raise ModelError(f"{self.left} bytes follow the last name; {_HINT}")


def _counted(cursor: _Cursor, count: int) -> range:
    """Refuse a count that the rest of the file cannot hold before looping over it."""
    if count > cursor.left:
        raise ModelError(f"it claims {count} entries in {cursor.left} bytes; {_HINT}")
    return range(count)


def _read_names(cursor: _Cursor, expected: int) -> list[str]:
    count = cursor.number("<Q", "the number of names")
    if count != expected:
        raise ModelError(
            f"it holds {expected} arrays and {count} names; save it with HybridBlock.export"
        )
    names = [_read_name(cursor, f"name {i} of {count}") for i in _counted(cursor, count)]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ModelError(f"the names {sorted(repeated)} occur more than once; {_HINT}")
    return names


def _read_name(cursor: _Cursor, noun: str) -> str:
    raw = cursor.take(cursor.number("<Q", noun), noun)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{noun} is not UTF-8; {_HINT}") from error


def _read_array(cursor: _Cursor, noun: str) -> np.ndarray:
    shape = _read_shape(cursor, noun)
    cursor.number("<i", f"the device type of {noun}")
    cursor.number("<i", f"the device number of {noun}")
    flag = cursor.number("<i", f"the dtype of {noun}")
    if flag not in DTYPES:
        raise ModelError(f"{noun} has the unknown dtype {flag} (known: {sorted(DTYPES)}); {_HINT}")
    dtype = DTYPES[flag]
    raw = cursor.take(math.prod(shape) * dtype.itemsize, f"the data of {noun}")
    array = np.frombuffer(raw, dtype).reshape(shape).copy()
    return _widen_bfloat16(array) if flag == BFLOAT16_FLAG else array


def _read_shape(cursor: _Cursor, noun: str) -> tuple[int, ...]:
    first = cursor.number("<I", f"the header of {noun}")
    if first in (V2_MAGIC, V3_MAGIC):
        _expect_dense(cursor.number("<i", f"the storage type of {noun}"), noun)
    if first in (V1_MAGIC, V2_MAGIC, V3_MAGIC):
        rank, layout = cursor.number("<i", f"the rank of {noun}"), "<q"
    else:
        rank, layout = first, "<I"
    lowest_rank = 0 if first == V3_MAGIC else 1
    if not lowest_rank <= rank <= MAX_DIMENSIONS:
        raise ModelError(f"{noun} has {rank} dimensions; {_HINT}")
    shape = tuple(cursor.number(layout, f"the shape of {noun}") for _ in range(rank))
    if any(size < 1 for size in shape):
        raise ModelError(f"{noun} has the shape {shape}, but sizes are positive; {_HINT}")
    return shape


def _expect_dense(storage: int, noun: str) -> None:
    if storage != 0:
        raise ModelError(
            f"{noun} has storage type {storage}, only dense (0) is supported; "
            "convert it with tostype('default') and save again"
        )


def _widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
