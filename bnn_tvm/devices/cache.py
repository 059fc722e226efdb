"""Folders of what this program can download or make again."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

Files = dict[str, bytes]
"""Content by path."""


def digest_files(files: Files) -> str:
    """Tell files with different content apart."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """Find a folder of the cache, or make it: whole or not at all.

    Parameters
    ----------
    name : str
        Says all that decides its content.
    fill : callable
        Writes the content into an empty folder.

    Returns
    -------
    Path
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "bnn_tvm" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as scratch:
        made = Path(scratch) / "whole"
        made.mkdir()
        fill(made)
        _move(made, folder)
    return folder


def _move(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Another process may have made the same folder meanwhile.
        if not folder.is_dir():
            raise
