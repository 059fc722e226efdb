"""Writing files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write beside and rename."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def export(net: HybridBlock, directory: Path, name: str, record: dict[str, Any]) -> None:
    """Write ``name-symbol.json``, ``name-0000.params`` and the record ``name.json``.

    The network must have been run once after it was hybridized.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as beside:
        net.export(str(Path(beside) / name))
        for file in Path(beside).iterdir():
            file.replace(directory / file.name)
    write_json(directory / f"{name}.json", record)


def versions() -> dict[str, str]:
    """Versions of what the numbers of a training depend on."""
    return {
        "python": platform.python_version(),
        "mxnet": mx.__version__,
        "numpy": np.__version__,
    }
