"""Compile binary Gluon networks to bit-packed, fused TVM kernels.

``compile`` makes a package of a model, ``compile_c`` a C library; ``load`` reads a package to run
it. All are imported at first use, so that running a package loads neither the compiler nor MXNet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compiler import compile as compile
    from .compiler import compile_c as compile_c
    from .package import Package as Package

__all__ = ["Package", "compile", "compile_c", "load"]

_HOMES = {"compile": ".compiler", "compile_c": ".compiler", "Package": ".package"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def load(path: str) -> Package:
    """Read a package file.

    Raises
    ------
    PackageError
        If the file is missing, damaged or of another schema version.
    """
    return __getattr__("Package").load(path)
