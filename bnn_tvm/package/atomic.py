"""Write files so that nobody ever sees half of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` beside `path` and rename it, so that a failure leaves no file.

    Raises
    ------
    InputError
        If the directory does not exist or cannot be written.
    """
    target = Path(path)
    check_writable(target)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(target)
    except OSError as exc:
        raise InputError(f"cannot write {target}: {exc.strerror}; choose another path") from exc
    finally:
        beside.unlink(missing_ok=True)


def write_folder(folder: str | os.PathLike[str], files: Mapping[str, bytes]) -> None:
    """Write files, by their paths in a folder; folders are made where they do not exist.

    Raises
    ------
    InputError
        If one cannot be written.
    """
    for name, content in files.items():
        path = Path(folder) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise InputError(f"cannot make the folder {path.parent}: {exc.strerror}") from exc
        write_atomically(path, content)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse an output path early, before hours of work are done for it.

    Raises
    ------
    InputError
        If the path is a directory, or its directory does not exist or is read-only.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"output {target} is a directory; name a file in it")
    if not target.parent.is_dir():
        raise InputError(f"no directory {target.parent} for the output; create it first")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"directory {target.parent} is not writable; choose another path")
