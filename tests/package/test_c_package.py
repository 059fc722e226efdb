"""The package file of a C library: round trip, what it refuses, and how it is unpacked."""

from __future__ import annotations

import pytest

from bnn_tvm.errors import InputError, PackageError
from bnn_tvm.package import CPackage, Package, load_package
from bnn_tvm.package.manifest import Manifest, TargetInfo
from bnn_tvm.package.summary import Summary

MANIFEST = Manifest(
    1, "small", {}, TargetInfo("t", "x86_64-linux-gnu", "c", (), 1), (), (), (), (), 0, ()
)
FILES = {"bnn_small.o": bytes(range(256)), "bnn_small.h": b"/* header */\n", "main.c": b"int x;\n"}
SMALL = CPackage(MANIFEST, FILES)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.bnn"
    SMALL.save(path)
    return path


def test_round_trip(file):
    loaded = CPackage.load(file)
    assert dict(loaded.files) == FILES
    assert loaded.library == FILES["bnn_small.o"]
    assert loaded.to_bytes() == file.read_bytes() == SMALL.to_bytes()
    assert {entry.role for entry in loaded.manifest.files} == {"c"}


def test_both_kinds_are_told_apart(file, tmp_path):
    assert isinstance(load_package(file), CPackage)
    Package(MANIFEST, b"library").save(tmp_path / "other.bnn")
    assert isinstance(load_package(tmp_path / "other.bnn"), Package)


def test_neither_kind_is_taken_for_the_other(file):
    with pytest.raises(PackageError, match=r"C library.*unzip.*bench --runner"):
        Package.load(file)
    with pytest.raises(PackageError, match="role 'library', not 'c'"):
        CPackage.from_bytes(Package(MANIFEST, b"library").to_bytes())


def test_damage_is_found(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(PackageError):
        CPackage.from_bytes(bytes(data))


def test_unpacking_writes_every_file(file, tmp_path):
    CPackage.load(file).unpack(tmp_path / "deep" / "folder")
    found = {p.name: p.read_bytes() for p in (tmp_path / "deep" / "folder").iterdir()}
    assert found == FILES


def test_unpacking_needs_a_place(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken"):
        SMALL.unpack(tmp_path / "taken")


def test_the_summary_counts_the_object():
    summary = Summary.of(SMALL)
    assert summary.library_bytes == 256
    assert summary.package_bytes == len(SMALL.to_bytes())
