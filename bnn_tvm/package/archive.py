"""The container: a zip whose comment ends in a digest of every byte before it.

Any zip tool can list a package. The digest makes every flipped bit, truncation and
appended byte visible, including those in zip headers that no CRC covers.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Mapping

from ..errors import PackageError

MAX_PACKAGE_BYTES = 1 << 30
MAX_MEMBER_BYTES = 1 << 30

_COMMENT = b"bnn_tvm package; sha256 of all bytes before this digest: "
_DIGEST_CHARS = 64
# The zip format's first date: the same content must give the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ADVICE = "copy the file again, or compile the model again"


def pack(members: Mapping[str, bytes]) -> bytes:
    """Make the container of `members` (name to content); the same bytes every time."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(_entry(name), content, zipfile.ZIP_DEFLATED, compresslevel=9)
        archive.comment = _COMMENT + b"0" * _DIGEST_CHARS
    body = buffer.getvalue()[:-_DIGEST_CHARS]
    return body + _digest(body)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(check_name(name), _EPOCH)
    entry.create_system = 3  # Unix, wherever this runs
    entry.external_attr = 0o644 << 16
    return entry


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()


def check_name(name: str) -> str:
    """Pass a member's name that cannot leave its directory.

    Raises
    ------
    PackageError
        If it is absolute, has a part that starts with a dot, or odd characters.
    """
    if not _NAME.fullmatch(name):
        raise PackageError(f"the package has a member with the unsafe name {name!r}; {_ADVICE}")
    return name


class Archive:
    """The checked members of a container.

    Parameters
    ----------
    data : bytes
        The whole file.

    Raises
    ------
    PackageError
        If a byte is missing, added or changed, or a member's name is unsafe or doubled.
    """

    def __init__(self, data: bytes) -> None:
        _check_digest(data)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as exc:
            raise PackageError(f"the package is not a zip file ({exc}); {_ADVICE}") from exc
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            if check_name(entry.filename) in self._entries:
                raise PackageError(f"the package has {entry.filename!r} twice; {_ADVICE}")
            self._entries[entry.filename] = entry

    @property
    def names(self) -> frozenset[str]:
        """Names of all members."""
        return frozenset(self._entries)

    def read(self, name: str, limit: int = MAX_MEMBER_BYTES) -> bytes:
        """Unpack one member of at most `limit` bytes.

        Raises
        ------
        PackageError
            If it does not exist, is larger, or does not unpack.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise PackageError(f"the package lacks its member {name!r}; {_ADVICE}")
        if entry.file_size > limit:
            raise PackageError(f"member {name!r} has {entry.file_size} bytes, above {limit}")
        if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
            raise PackageError(f"member {name!r} is stored in a way that is not allowed")
        return self._unpack(entry, limit)

    def _unpack(self, entry: zipfile.ZipInfo, limit: int) -> bytes:
        try:
            with self._zip.open(entry) as stream:
                # The header may lie about the size: never unpack more than was allowed.
                return stream.read(limit)
        except _UNPACKING_ERRORS as exc:
            raise PackageError(f"member {entry.filename!r} does not unpack ({exc})") from exc


# Of a damaged member, or one packed in a way that zipfile does not know (encrypted, patched).
_UNPACKING_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    RuntimeError,
)


def _check_digest(data: bytes) -> None:
    body, digest = data[:-_DIGEST_CHARS], data[-_DIGEST_CHARS:]
    if not body.endswith(_COMMENT):
        raise PackageError(f"the file is not a bnn_tvm package, or its end is cut off; {_ADVICE}")
    if digest != _digest(body):
        raise PackageError(f"the package is damaged: its checksum does not match; {_ADVICE}")
