"""Builds the files that are timed: packages of ours, and the peers' models.

Timing needs these files and the engines only, neither MXNet's Gluon nor the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from .cases import F32, MXNET, OURS, RESNET18, Entry


def entry_path(folder: Path, entry: Entry) -> Path:
    """Name the file of an entry."""
    return folder / f"{entry.model}{_suffix(entry)}"


def _suffix(entry: Entry) -> str:
    if entry.engine == OURS:
        return f".{entry.target}{'' if entry.precision == F32 else '.' + entry.precision}.bnn"
    if entry.model != RESNET18:
        return ".xml"
    return f".{entry.precision}" + ("-symbol.json" if entry.engine == MXNET else ".onnx")


def prepare(entries: Iterable[Entry], folder: Path, progress: Callable[[str], None]) -> None:
    """Write the files of some entries.

    Parameters
    ----------
    entries : iterable of Entry
    folder : path
        Made if it is missing; files of the same names are replaced.
    progress : callable
        Gets the name of each file before it is made.
    """
    from .models import all_models

    models = all_models()
    folder.mkdir(parents=True, exist_ok=True)
    files = {entry_path(folder, entry): entry for entry in entries}
    for path, entry in files.items():
        progress(path.name)
        models[entry.model].write(entry, path)
