"""Builds the files that are timed: packages of ours, and the peers' models.

Timing needs these files and the engines only, neither MXNet nor the compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import bnn_tvm
from bnn_tvm.importer import Graph, import_graph

from .cases import OPENVINO, OURS, Case, Entry
from .models import Model, all_models

Progress = Callable[[str], None]


def entry_path(folder: Path, entry: Entry) -> Path:
    """Name the file of an entry: its suffix says whose it is."""
    suffixes = {OURS: f".{entry.target}.bnn", OPENVINO: ".xml"}
    return folder / f"{entry.model}{suffixes[entry.engine]}"


def prepare(cases: Iterable[Case], folder: Path, progress: Progress) -> None:
    """Write the file of every entry of some cases.

    Parameters
    ----------
    cases : iterable of Case
    folder : path
        Made if it is missing; files of the same names are replaced.
    progress : callable
        Gets the name of each file before it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, dict[Path, Entry]] = {}
    for case in cases:
        for entry in case.entries:
            wanted.setdefault(entry.model, {})[entry_path(folder, entry)] = entry
    for name, files in wanted.items():
        _prepare_model(all_models()[name], files, progress)


def _prepare_model(model: Model, files: dict[Path, Entry], progress: Progress) -> None:
    graph = model.build()
    for path, entry in files.items():
        progress(path.name)
        _WRITERS[entry.engine](graph, model, entry, path)


def _write_package(graph: Graph, model: Model, entry: Entry, path: Path) -> None:
    package = bnn_tvm.compile(graph, target=entry.target, input_shape=model.shape)
    package.save(path)


def _write_openvino(graph: Graph, model: Model, entry: Entry, path: Path) -> None:
    import openvino

    from .openvino_model import to_openvino

    mod = import_graph(graph, {graph.data_inputs[0]: model.shape})
    openvino.save_model(to_openvino(mod), path, compress_to_fp16=False)


_WRITERS = {OURS: _write_package, OPENVINO: _write_openvino}
