"""`CPackage`: a model compiled to a C library, to be saved, loaded and unpacked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from .atomic import write_atomically, write_folder
from .bundle import Package
from .manifest import Manifest
from .reader import parse_files, read_files, read_manifest
from .writer import C_SOURCE, pack_files


@dataclass(frozen=True)
class CPackage:
    """A model as a C library that needs no runtime.

    Parameters
    ----------
    manifest : Manifest
    files : mapping of str to bytes
        The header, the object with kernels and weights, the program, an example with a self-test,
        and how to build them with CMake.
    """

    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def library(self) -> bytes:
        """The object file with kernels and weights."""
        return next(content for name, content in self.files.items() if name.endswith(".o"))

    def to_bytes(self) -> bytes:
        """Make the content of the package file; equal packages give equal bytes."""
        return pack_files(self.manifest, {C_SOURCE: self.files})

    @classmethod
    def from_bytes(cls, data: bytes) -> CPackage:
        """Read the content of a package file.

        Raises
        ------
        PackageError
            If it is damaged or no C library.
        """
        return cls(*parse_files(data, C_SOURCE))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the package file, whole or not at all.

        Raises
        ------
        InputError
            If the path cannot be written.
        """
        write_atomically(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CPackage:
        """Read a package file.

        Raises
        ------
        PackageError
            If the file is missing, damaged or no C library.
        """
        return cls(*read_files(path, C_SOURCE))

    def unpack(self, folder: str | os.PathLike[str]) -> None:
        """Write the files into a folder, which is made if it does not exist.

        Raises
        ------
        InputError
            If the folder cannot be written.
        """
        write_folder(folder, self.files)


def load_package(path: str | os.PathLike[str]) -> Package | CPackage:
    """Read a package file of either kind.

    Raises
    ------
    PackageError
        If the file is missing, damaged or of another schema version.
    """
    roles = {file.role for file in read_manifest(path).files}
    return CPackage.load(path) if roles == {C_SOURCE} else Package.load(path)
