"""The package file: round trip, and every way to damage or forge it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn_tvm.errors import InputError, PackageError
from bnn_tvm.package import Package
from bnn_tvm.package.archive import Archive, pack
from bnn_tvm.package.manifest import FileInfo, Manifest, TargetInfo
from bnn_tvm.package.reader import parse_package, read_package
from bnn_tvm.package.recording import Recording
from bnn_tvm.package.summary import Summary

DIGEST_CHARS = 64
TARGET = TargetInfo("t", "x86_64-linux-gnu", "c", (), 1)
LIBRARY = bytes(range(256)) * 4
SMALL = Package(Manifest(1, "small", {}, TARGET, (), (), (), (), 0, ()), LIBRARY)
DATA = SMALL.to_bytes()


def forge(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip with a right digest and any members at all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
        archive.comment = zipfile.ZipFile(io.BytesIO(DATA)).comment
    return sign(buffer.getvalue())


def sign(data: bytes) -> bytes:
    body = data[:-DIGEST_CHARS]
    return body + hashlib.sha256(body).hexdigest().encode()


def manifest_with(*files: FileInfo) -> bytes:
    return dataclasses.replace(SMALL.manifest, files=files).to_json().encode()


def listed(path: str, content: bytes = LIBRARY, **changes) -> FileInfo:
    digest = hashlib.sha256(content).hexdigest()
    return dataclasses.replace(FileInfo(path, "library", len(content), digest), **changes)


def test_round_trip_in_memory_and_on_disk(classifier, tmp_path):
    path = tmp_path / "a.bnn"
    classifier.save(path)
    loaded = Package.load(path)
    assert loaded.library == classifier.library
    assert dataclasses.replace(loaded.manifest, files=()) == classifier.manifest
    assert [file.size for file in loaded.manifest.files] == [len(classifier.library)]
    assert Package.from_bytes(loaded.to_bytes()) == loaded


def test_same_content_gives_same_bytes(classifier):
    assert classifier.to_bytes() == classifier.to_bytes()
    assert Package.from_bytes(classifier.to_bytes()).to_bytes() == classifier.to_bytes()


def test_any_zip_tool_lists_it_and_the_library_is_compressed(classifier):
    with zipfile.ZipFile(io.BytesIO(classifier.to_bytes())) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "lib/model.so"]
        assert archive.getinfo("lib/model.so").compress_size < len(classifier.library) / 2


def test_truncation_at_every_length_is_found():
    for length in range(len(DATA)):
        with pytest.raises(PackageError):
            parse_package(DATA[:length])


@given(st.binary(min_size=1, max_size=200))
def test_appended_bytes_are_found(tail):
    with pytest.raises(PackageError):
        parse_package(DATA + tail)


def test_a_flipped_bit_in_any_byte_is_found():
    for index in range(len(DATA)):
        flipped = bytearray(DATA)
        flipped[index] ^= 1 << index % 8
        with pytest.raises(PackageError):
            parse_package(bytes(flipped))


@settings(max_examples=300)
@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(index, difference):
    changed = bytearray(DATA)
    changed[index] ^= difference
    with pytest.raises(PackageError):
        parse_package(bytes(changed))


@settings(max_examples=300)
@given(st.integers(0, len(DATA) - DIGEST_CHARS - 1), st.integers(1, 255))
def test_a_forged_digest_never_gives_other_errors(index, difference):
    """Behind a right digest, damage is either harmless or a PackageError."""
    changed = bytearray(DATA)
    changed[index] ^= difference
    try:
        manifest, library, _ = parse_package(sign(bytes(changed)))
    except PackageError:
        return
    assert library == LIBRARY
    assert isinstance(manifest, Manifest)


@pytest.mark.parametrize(
    "name",
    ["../evil.so", "/etc/evil", "a/../../b", "a//b", "./a", "a/.", "C:\\x", "a\\..\\b", "", "a\n",
     ".hidden", "lib/model.so/", "ä"],
)  # fmt: skip
def test_unsafe_member_names_are_refused(name):
    manifest = manifest_with(listed(name))
    with pytest.raises(PackageError, match="unsafe name"):
        parse_package(forge([("manifest.json", manifest), (name, LIBRARY)]))
    with pytest.raises(PackageError, match="unsafe name"):
        parse_package(forge([("manifest.json", manifest)]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "lacks its member 'manifest.json'"),
        ([("manifest.json", b"\xff")], "not UTF-8"),
        ([("manifest.json", b"{}")], "lacks the key"),
        ([("manifest.json", manifest_with())], "exactly one file"),
        ([("manifest.json", manifest_with(listed("a")))], "lacks its member 'a'"),
        ([("manifest.json", manifest_with(listed("a"))), ("a", LIBRARY), ("b", b"")],
         "holds 'b', which its manifest does not list"),
        ([("manifest.json", manifest_with(listed("a"))), ("a", LIBRARY), ("a", LIBRARY)],
         "has 'a' twice"),
        ([("manifest.json", manifest_with(listed("a"), listed("a"))), ("a", LIBRARY)],
         "lists one file twice"),
        ([("manifest.json", manifest_with(listed("a", role="virus"))), ("a", LIBRARY)],
         "role 'library'"),
        ([("manifest.json", manifest_with(listed("a", sha256="0" * 64))), ("a", LIBRARY)],
         "not what the manifest says"),
        ([("manifest.json", manifest_with(listed("a", size=len(LIBRARY) + 1))), ("a", LIBRARY)],
         "not what the manifest says"),
        ([("manifest.json", manifest_with(listed("a", size=5))), ("a", LIBRARY)], "above 5"),
        ([("manifest.json", manifest_with(listed("a", size=-1))), ("a", LIBRARY)], "above -1"),
    ],
)  # fmt: skip
def test_forged_contents_are_refused(members, message):
    with pytest.raises(PackageError, match=message):
        parse_package(forge(members))


def test_a_bomb_is_not_unpacked():
    bomb = forge([("manifest.json", b" " * (64 << 20))], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 17
    with pytest.raises(PackageError, match="above"):
        parse_package(bomb)


def test_a_lying_size_does_not_unpack_more_than_it_says():
    honest = forge([("manifest.json", b" " * (1 << 20))], zipfile.ZIP_DEFLATED)
    lying = honest.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    with pytest.raises(PackageError):
        parse_package(sign(lying))


def test_other_compression_is_refused():
    data = forge([("manifest.json", manifest_with(listed("a"))), ("a", LIBRARY)], zipfile.ZIP_LZMA)
    with pytest.raises(PackageError, match="stored in a way"):
        parse_package(data)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a package" * 99])
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "other.bnn"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"other.bnn: the file is not a bnn_tvm package"):
        read_package(path)


def test_missing_file_and_directory_are_refused(tmp_path):
    for path in (tmp_path / "none.bnn", tmp_path):
        with pytest.raises(PackageError, match="bnn-tvm compile"):
            Package.load(path)


def test_a_plain_archive_round_trips():
    archive = Archive(pack({"a": b"1", "b/c.txt": b""}))
    assert archive.names == {"a", "b/c.txt"}
    assert [archive.read(name) for name in ("a", "b/c.txt")] == [b"1", b""]


def test_saving_replaces_the_file_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "a.bnn"
    path.write_bytes(b"old")
    SMALL.save(path)
    assert path.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [path]


def test_failed_saves_leave_nothing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="create it first"):
        SMALL.save(tmp_path / "none" / "a.bnn")
    with pytest.raises(InputError, match="is a directory"):
        SMALL.save(tmp_path)

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(InputError, match="No space left"):
        SMALL.save(tmp_path / "a.bnn")
    assert list(tmp_path.iterdir()) == []


def test_the_self_test_is_kept_and_checked(tmp_path):
    recording = Recording(np.zeros(3, np.int8), (np.ones((1, 2), np.float32),), 0.5)
    manifest = dataclasses.replace(SMALL.manifest, self_test_tolerance=0.5)
    package = Package(manifest, LIBRARY, recording.to_files())
    package.save(tmp_path / "a.bnn")
    loaded = Package.load(tmp_path / "a.bnn")
    assert loaded.to_bytes() == package.to_bytes()
    assert loaded.recording.tolerance == 0.5
    np.testing.assert_array_equal(loaded.recording.outputs[0], [[1, 1]])
    assert SMALL.recording is None


def test_summary_counts_layers_and_bytes(classifier):
    summary = Summary.of(classifier)
    data = json.loads(summary.to_json())
    assert (summary.lowered, len(summary.layers)) == (0, 1)
    assert data["float_weight_bytes"] == data["weight_bytes"] == 8 * 4 * 4
    assert data["package_bytes"] == len(classifier.to_bytes())
    assert data["layers"][0]["reason"] == "its input [x] is not a sign"
