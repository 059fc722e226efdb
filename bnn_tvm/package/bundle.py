"""`Package`: a compiled model in memory, to be saved, loaded and run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .atomic import write_atomically
from .manifest import Manifest
from .reader import parse_package, read_package
from .recording import Recording
from .writer import package_bytes

if TYPE_CHECKING:
    from ..runtime import Session

SUFFIX = ".bnn"


@dataclass(frozen=True)
class Package:
    """A compiled model: its manifest and the shared library with its code and weights.

    Parameters
    ----------
    manifest : Manifest
    library : bytes
        As ``export_library`` wrote it.
    selftest : mapping of str to bytes, optional
        The files of a `Recording`; none if there is nothing to check against.

    Examples
    --------
    >>> package = bnn_tvm.compile("lenet-symbol.json", target="host", input_shape=(1, 1, 28, 28))
    >>> package.save("lenet.bnn")
    >>> logits = Package.load("lenet.bnn").run(x)
    """

    manifest: Manifest
    library: bytes
    selftest: Mapping[str, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Make the content of the package file; equal packages give equal bytes."""
        return package_bytes(self.manifest, self.library, self.selftest)

    @classmethod
    def from_bytes(cls, data: bytes) -> Package:
        """Read the content of a package file.

        Raises
        ------
        PackageError
            If it is damaged or does not hold what it says.
        """
        return cls(*parse_package(data))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the package file, whole or not at all.

        Raises
        ------
        InputError
            If the path cannot be written.
        """
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Package:
        """Read a package file.

        Raises
        ------
        PackageError
            If the file is missing, damaged or of another schema version.
        """
        return cls(*read_package(path))

    @property
    def recording(self) -> Recording | None:
        """Recorded inputs and outputs, if there are any.

        Raises
        ------
        PackageError
            If their files are not those of a recording.
        """
        if not self.selftest:
            return None
        return Recording.from_files(self.selftest, self.manifest.self_test_tolerance)

    def session(self, threads: int = 1) -> Session:
        """Open the package for running; see `bnn_tvm.runtime.Session`."""
        from ..runtime import Session

        return Session(self, threads)

    def run(
        self, *arrays: np.ndarray | Mapping[str, np.ndarray]
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Run once on one thread, in a session that is kept; see `Session.run`."""
        return self._session.run(*arrays)

    @cached_property
    def _session(self) -> Session:
        return self.session()
