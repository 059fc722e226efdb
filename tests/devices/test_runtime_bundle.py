"""The archive that a board needs: what goes in, and that it runs as it is."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import textwrap
import zipfile

import numpy as np
import pytest

import bnn_tvm.devices.runtime_bundle as runtime_bundle
from bnn_tvm.devices.cache import cached_folder
from bnn_tvm.devices.runtime_bundle import PROGRAM, collect_files, measure_parts, pack_files
from bnn_tvm.devices.wheels import download_wheels, run_tool
from bnn_tvm.errors import TargetError, ToolchainError

MEMBERS = {
    "tvm/lib/libtvm_runtime.so": b"runtime",
    "tvm/lib/libtvm_compiler.so": b"compiler",
    "tvm/relax/op.py": b"",
    "tvm_ffi/core.cpython-311-aarch64-linux-gnu.so": b"core",
    "tvm_ffi/include/tvm.h": b"",
    "tvm_ffi/module.py": b"",
    "numpy/core/tests/test_x.py": b"",
    "numpy/testing/__init__.py": b"",
    "rich/py.typed": b"",
    "rich/console.pyi": b"",
    "apache_tvm-1.dist-info/METADATA": b"Name: apache-tvm",
}
KEPT = {
    "tvm/lib/libtvm_runtime.so",
    "tvm_ffi/core.cpython-311-aarch64-linux-gnu.so",
    "tvm_ffi/module.py",
    "numpy/testing/__init__.py",
    "rich/py.typed",
    "apache_tvm-1.dist-info/METADATA",
}


@pytest.fixture
def files(tmp_path, monkeypatch) -> dict[str, bytes]:
    wheel = tmp_path / "all.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    monkeypatch.setattr(runtime_bundle, "download_wheels", lambda architecture: [wheel])
    return collect_files("aarch64")


def test_a_bundle_holds_the_runtime_and_no_compiler(files):
    names = {name.removeprefix("bnn-tvm/python/") for name in files}
    own = {name for name in names if name.startswith("bnn_tvm")}
    assert names - own == {*KEPT, PROGRAM}
    assert {"bnn_tvm/runtime.py", "bnn_tvm/devices/server.py", "bnn_tvm/targets/x86-64.toml"} <= own
    assert not [name for name in own if "compiler" in name or "gluon" in name or "pycache" in name]


def test_a_bundle_imports_nothing_that_it_lacks(files, tmp_path):
    site = tmp_path / "site"
    for name, content in files.items():
        if "python/bnn_tvm/" in name:
            path = site / name.removeprefix("bnn-tvm/python/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    code = """
        import sys
        import bnn_tvm.benchmark.board_service, bnn_tvm.devices.serve
        from bnn_tvm.cli import main
        print(main(["targets"]))
        print(*(m.__file__ for name, m in sys.modules.items() if name.startswith("bnn_tvm.")))
        """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    place = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        command, env=place, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    code, places = done.stdout.splitlines()[-2:]
    # What is not in the bundle would come from the installation that runs the tests.
    assert code == "0" and not [p for p in places.split() if not p.startswith(str(site))]


def test_a_bundle_is_an_archive_with_a_program(files):
    data = pack_files(files)
    assert pack_files(dict(reversed(files.items()))) == data
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert set(archive.getnames()) == set(files)
        assert archive.getmember(PROGRAM).mode == 0o755


def test_sizes_are_listed_by_part(files):
    sizes = measure_parts(files)
    assert sizes["tvm"] == len(b"runtime") and sizes["bnn_tvm"] > 100_000
    assert sum(sizes.values()) == sum(map(len, files.values()))


def test_a_cached_folder_is_made_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(folder):
        (folder / "half").touch()
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        cached_folder("x", fail)
    assert not list((tmp_path / "bnn_tvm").iterdir())

    def fill(folder):
        (folder / "a").touch()
        (tmp_path / "bnn_tvm" / "x").mkdir()  # as another process would at the same time
        (tmp_path / "bnn_tvm" / "x" / "a").touch()

    for _ in range(2):
        assert [path.name for path in cached_folder("x", fill).iterdir()] == ["a"]
    assert [path.name for path in (tmp_path / "bnn_tvm").iterdir()] == ["x"]


def test_boards_without_a_runtime_get_c():
    with pytest.raises(TargetError, match="--format c"):
        download_wheels("arm")


def test_tools_that_fail_are_named():
    with pytest.raises(ToolchainError, match="sh -c echo oh >&2; exit 3 failed: oh"):
        run_tool(["sh", "-c", "echo oh >&2; exit 3"])
    with pytest.raises(ToolchainError, match="does not run"):
        run_tool(["bnn-tvm-no-such-tool"])


@pytest.mark.slow
def test_a_bundle_for_this_machine_runs_a_package(classifier, classifier_file, tmp_path):
    data = pack_files(collect_files("x86_64"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(tmp_path)
    x = np.ones((2, 8), np.float32)
    np.save(tmp_path / "x.npy", x)
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    clean = {"PATH": "/usr/bin:/bin"}
    command = [tmp_path / PROGRAM, "run", classifier_file, *files]
    if subprocess.run(["sh", "-c", "command -v python3.11"], env=clean, check=False).returncode:
        pytest.skip("needs the system's own python3.11")
    subprocess.run(command, check=True, env=clean, timeout=300)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), classifier.run(x))
