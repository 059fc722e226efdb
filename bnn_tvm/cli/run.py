"""``bnn-tvm run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .options import DebugOption, ThreadsOption


def run(
    package: Annotated[Path, typer.Argument(help="A package file.")],
    inputs: Annotated[
        list[Path], typer.Option("--input", help="A .npy file; once for each input, in order.")
    ],
    outputs: Annotated[
        list[Path], typer.Option("--output", help="A .npy file; once for each output, in order.")
    ],
    threads: ThreadsOption = 1,
    debug: DebugOption = False,
) -> None:
    """Run a package once on arrays from files."""
    from ..package.atomic import check_writable, write_atomically
    from ..runtime import Session
    from .arrays import npy_bytes, read_npy

    for path in outputs:
        check_writable(path)
    session = Session(package, threads)
    _check_outputs(len(outputs), len(session.manifest.outputs))
    result = session.run(*(read_npy(path) for path in inputs))
    arrays = result if isinstance(result, tuple) else (result,)
    for path, array in zip(outputs, arrays, strict=True):
        write_atomically(path, npy_bytes(array))


def _check_outputs(given: int, expected: int) -> None:
    if given != expected:
        raise InputError(f"the package has {expected} outputs; give --output once for each")
