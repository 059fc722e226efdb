"""One message to a board or back: facts as JSON, and arrays, in the bytes of a .npz file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..errors import DeviceError

_FACTS = "facts"
_BROKEN = (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile)


class Message(NamedTuple):
    """A message.

    Attributes
    ----------
    facts : dict
        JSON values.
    arrays : dict of str to np.ndarray
    """

    facts: dict[str, Any]
    arrays: dict[str, np.ndarray]


def pack_message(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """Make the bytes of a message; no array may be called ``facts``."""
    text = np.frombuffer(json.dumps(dict(facts)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **{_FACTS: text}, **(arrays or {}))
    return buffer.getvalue()


def unpack_message(data: bytes) -> Message:
    """Read a message.

    Raises
    ------
    DeviceError
        If the bytes are something else; nothing in them is ever run.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        facts = json.loads(arrays.pop(_FACTS).tobytes())
    except _BROKEN as exc:
        raise DeviceError(
            f"the other side sent no message of bnn_tvm ({exc}); use the same version on both"
        ) from exc
    return Message(facts, arrays)
