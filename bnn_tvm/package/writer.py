"""Turn a manifest and a library into the bytes of a package."""

from __future__ import annotations

import dataclasses
import hashlib

from .archive import pack
from .manifest import FileInfo, Manifest

MANIFEST_NAME = "manifest.json"
LIBRARY_NAME = "lib/model.so"


def package_bytes(manifest: Manifest, library: bytes) -> bytes:
    """Make a package file's content; `manifest.files` is filled in.

    Parameters
    ----------
    manifest : Manifest
    library : bytes
        The shared library that TVM exported.
    """
    entry = FileInfo(LIBRARY_NAME, "library", len(library), hashlib.sha256(library).hexdigest())
    full = dataclasses.replace(manifest, files=(entry,))
    return pack({MANIFEST_NAME: full.to_json().encode(), LIBRARY_NAME: library})
