"""`bnn_run`: built here and for an emulated board, what it checks, gives, refuses and survives."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tvm
from c_harness import AARCH64, LENET, LENET_SHAPE, need
from relax_harness import module
from tvm import relax

import bnn_tvm
from bnn_tvm.benchmark.runner import build_program
from bnn_tvm.build import build_library, schedule_module
from bnn_tvm.cli import main
from bnn_tvm.devices.native_runner import PROGRAM, build_runner
from bnn_tvm.package import Package
from bnn_tvm.package.manifest import Manifest, TensorInfo
from bnn_tvm.package.recording import Recording
from bnn_tvm.target import get_target
from bnn_tvm.zoo.mnist import load_digits

DIGEST = 64


@cache
def lenet(target: str) -> Package:
    return bnn_tvm.compile(LENET, target=target, input_shape=LENET_SHAPE)


@pytest.fixture(scope="session")
def program() -> Path:
    need("cmake", "x86_64-linux-gnu-g++")
    return build_runner("x86_64") / PROGRAM


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    return load_digits()[1].images[:200]


@pytest.fixture
def execute(program, tmp_path):
    """Runs a package, given as such or as bytes, with options."""

    def run(package, *options: object, before: tuple[str, ...] = ()):
        data = package if isinstance(package, bytes) else package.to_bytes()
        (tmp_path / "model.bnn").write_bytes(data)
        command = [*before, program, tmp_path / "model.bnn", *options]
        return subprocess.run(
            list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=300
        )

    return run


def with_self_test(package: Package, *outputs: np.ndarray, tolerance: float = 0.0) -> Package:
    recording = Recording(np.arange(-9, 14, dtype=np.int8), outputs, tolerance)
    manifest = dataclasses.replace(package.manifest, self_test_tolerance=tolerance)
    return dataclasses.replace(package, manifest=manifest, selftest=recording.to_files())


def recorded(package: Package, **options: float) -> Package:
    """A package that has recorded what it gives."""
    outputs = (np.zeros(info.shape, info.dtype) for info in package.manifest.outputs)
    given = with_self_test(package, *outputs).recording.inputs(package.manifest.inputs)
    result = package.run(*given)
    return with_self_test(package, *(result if isinstance(result, tuple) else (result,)), **options)


def test_it_checks_and_times(execute):
    package = lenet("host")
    done = execute(package, "--repeats", 3)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["self_test"] == {"passed": True, "largest_difference": 0}
    assert len(found["seconds"]) == 3 and min(found["seconds"]) > 0
    kernels = {kernel.name: ", ".join(kernel.layers) for kernel in package.manifest.kernels}
    assert {step["kernel"]: step["layers"] for step in found["steps"]} == kernels
    assert all(len(step["seconds"]) == 3 for step in found["steps"])


def test_digits_are_what_python_gives(execute, tmp_path, digits):
    np.save(tmp_path / "x.npy", digits)
    done = execute(lenet("host"), "--input", "x.npy", "--output", "y.npy")
    assert done.returncode == 0, done.stderr
    expected = [lenet("host").run(digit[None]) for digit in digits]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.concatenate(expected))


def test_boards_classify_real_digits_as_the_host_does(tmp_path, digits):
    AARCH64.need()
    need("cmake", "aarch64-linux-gnu-g++")
    np.save(tmp_path / "x.npy", digits)
    program = build_program(lenet(AARCH64.target), tmp_path)
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    command = [*AARCH64.emulator, *program.files, *files]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    expected = np.concatenate([lenet("host").run(digit[None]) for digit in digits])
    logits = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(logits.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_several_inputs_and_outputs_of_other_types(execute, pair, tmp_path):
    package = recorded(pair)
    a, b = np.float32([1, 5, -2, 0, 3, 9]), np.float32([2, 4, -2, -1, 7, 8])
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", b)
    files = ("--input", "a.npy", "--input", "b.npy", "--output", "sum.npy", "--output", "above.npy")
    done = execute(package, *files)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "sum.npy"), a + b)
    above = np.load(tmp_path / "above.npy")
    assert above.dtype == bool
    np.testing.assert_array_equal(above, a > b)


def test_wrong_numbers_are_told(execute, classifier, tmp_path):
    right = recorded(classifier).recording.outputs[0]
    np.save(tmp_path / "x.npy", np.ones((2, 8), np.float32))
    done = execute(
        with_self_test(classifier, right + 1, tolerance=0.5),
        *("--input", "x.npy", "--output", "y.npy"),
    )
    assert done.returncode == 1
    found = json.loads(done.stdout)["self_test"]
    assert not found["passed"] and np.isclose(found["largest_difference"], 1)
    assert not (tmp_path / "y.npy").exists()
    assert execute(with_self_test(classifier, right + 1, tolerance=1.5)).returncode == 0
    assert execute(with_self_test(classifier, right * np.nan)).returncode == 0


def square_root() -> Package:
    """A network that gives NaN for the first numbers of a recording, and numbers after them."""
    target, tensor = get_target("x86-64"), TensorInfo("x", (23,), "float32", "")
    mod = module(lambda graph, x: graph(relax.op.sqrt(x)), tensor.shape)
    library = build_library(schedule_module(mod, target).mod, target)
    versions = {"tvm": tvm.__version__}
    manifest = Manifest(1, "root", versions, target.info(), (tensor,), (tensor,), (), (), 0, ())
    return Package(manifest, library)


def test_a_number_that_is_none_is_wrong(execute):
    package = with_self_test(square_root(), np.zeros(23, np.float32), tolerance=10.0)
    done = execute(package)
    assert done.returncode == 1
    assert json.loads(done.stdout)["self_test"]["largest_difference"] > 1e38


@pytest.mark.parametrize(
    "options, message",
    [
        (("--input", "x.npy"), "give --output once"),
        (("--output", "y.npy"), "give --input once"),
        (("--fly", "1"), "bnn_run PKG"),
        (("--repeats", "-1"), "bnn_run PKG"),
        (("--repeats",), "bnn_run PKG"),
        (("--input", "none.npy", "--output", "y.npy"), "none.npy: cannot be read"),
        (("--input", "small.npy", "--output", "y.npy"), "shape of the input x"),
        (("--input", "double.npy", "--output", "y.npy"), "type and shape"),
        (("--input", "odd.npy", "--output", "y.npy"), "type and shape"),
        (("--input", "columns.npy", "--output", "y.npy"), "in C order"),
        (("--input", "cut.npy", "--output", "y.npy"), "ends early"),
        (("--input", "text.npy", "--output", "y.npy"), "no .npy file"),
        (("--input", "complex.npy", "--output", "y.npy"), "<c8 are not supported"),
        (("--input", "x.npy", "--output", "no/y.npy"), "cannot be written"),
    ],
)
def test_arguments_and_arrays_that_do_not_fit(options, message, execute, classifier, tmp_path):
    x = np.ones((2, 8), np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "small.npy", x[:, :7])
    np.save(tmp_path / "double.npy", x.astype(np.float64))
    np.save(tmp_path / "odd.npy", np.ones((3, 8), np.float32))
    np.save(tmp_path / "columns.npy", np.asfortranarray(x))
    np.save(tmp_path / "complex.npy", x.astype(np.complex64))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-4])
    (tmp_path / "text.npy").write_text("1, 2, 3")
    done = execute(recorded(classifier), *options)
    assert done.returncode == 2
    assert message in done.stderr


def resigned(data: bytes) -> bytes:
    body = data[:-DIGEST]
    return body + hashlib.sha256(body).hexdigest().encode()


def changed(package: Package, **changes) -> Package:
    return dataclasses.replace(package, manifest=dataclasses.replace(package.manifest, **changes))


def for_target(package: Package, **changes) -> Package:
    return changed(package, target=dataclasses.replace(package.manifest.target, **changes))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda p: p.to_bytes()[:-1], "end is cut off"),
        (lambda p: p.to_bytes() + b"\n", "end is cut off"),
        (lambda p: b"", "end is cut off"),
        (lambda p: p.to_bytes()[:100] + b"\x01" + p.to_bytes()[101:], "checksum"),
        (lambda p: for_target(p, triple="aarch64-linux-gnu"), "is for aarch64 and this machine"),
        (lambda p: for_target(p, features=("telepathy",)), "a processor with telepathy"),
        (lambda p: for_target(p, gpu="sm_90"), "is for a GPU"),
        (lambda p: changed(p, versions={"tvm": "0.26.0"}), "made by TVM 0.26.0"),
        (lambda p: changed(p, versions={}), "lacks tvm"),
        (lambda p: dataclasses.replace(p, selftest={}), "no self-test"),
        (lambda p: dataclasses.replace(p, library=b"\x7fELF"), "model.so"),
        (
            lambda p: resigned(p.to_bytes().replace(b'lib/model.so', b'lib/other.so')),
            "lacks its member lib/model.so",
        ),
    ],
)  # fmt: skip
def test_packages_that_are_refused(damage, message, execute, classifier):
    damaged = damage(recorded(classifier))
    done = execute(damaged)
    assert done.returncode == 2
    assert message in done.stderr


def test_other_schemas_are_refused(execute, classifier):
    from bnn_tvm.package.archive import Archive, pack

    archive = Archive(recorded(classifier).to_bytes())
    files = {name: archive.read(name) for name in archive.names}
    files["manifest.json"] = files["manifest.json"].replace(
        b'"schema_version": 1', b'"schema_version": 2'
    )
    done = execute(pack(files))
    assert done.returncode == 2 and "schema version is not 1" in done.stderr
    done = execute(pack({**files, "more.txt": b""}))
    assert done.returncode == 2


def test_a_c_package_is_named(execute):
    from c_harness import lenet as lenet_in_c

    done = execute(lenet_in_c("host"))
    assert done.returncode == 2 and "its own CMakeLists.txt" in done.stderr


def test_all_that_zip_files_can_hold(execute, classifier, monkeypatch):
    """Members of all lengths around a block of SHA-256, deflated in every way that zlib has."""
    drawn = np.random.default_rng(0)
    package = recorded(classifier)
    lengths = [*range(131), 5000, 70000]
    strategies = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)
    for strategy in strategies:
        monkeypatch.setattr(
            "zipfile._get_compressor",
            lambda method, level=None, strategy=strategy: zlib.compressobj(
                9, zlib.DEFLATED, -15, 9, strategy
            ),
        )
        few = drawn.integers(0, 4, sum(lengths)).astype(np.uint8).tobytes()
        many = drawn.bytes(sum(lengths))
        more = {}
        for kind, source in (("few", few), ("many", many)):
            start = 0
            for length in lengths:
                more[f"selftest/{kind}{length}"] = source[start : start + length]
                start += length
        done = execute(dataclasses.replace(package, selftest={**package.selftest, **more}))
        assert done.returncode == 0, done.stderr


class Packer:
    """Stands for a compressor, and packs everything to the same bytes."""

    def __init__(self, bits: str) -> None:
        packed = int(bits[::-1], 2).to_bytes(-(-len(bits) // 8), "little")
        self.compress, self.flush = lambda data: b"", lambda: packed


@pytest.mark.parametrize(
    "bits, message",
    [
        # The last block, with codes of its own: 19 lengths of codes, all 1.
        ("1" "01" "00000" "00000" "1111" + "100" * 19, "more codes than there are"),
        # Codes that are known: the first symbol repeats what is not there, or ends the block.
        ("1" "10" "0000001" "00000", "repeats what is not there"),
        ("1" "10" "0000000", "less than its size"),
        ("1" "11", "unknown kind of block"),
        ("1" "00" "00000" + "1" * 32, "damaged block"),
        ("1" "10" "11000110", "unknown symbol"),
        ("0" "10", "ends early"),
    ],
)  # fmt: skip
def test_packed_data_that_makes_no_sense(bits, message, execute, classifier, monkeypatch):
    monkeypatch.setattr("zipfile._get_compressor", lambda method, level=None: Packer(bits))
    done = execute(recorded(classifier))
    assert done.returncode == 2
    assert message in done.stderr


def test_damage_behind_a_right_digest_never_crashes_it(execute, classifier):
    data = recorded(classifier).to_bytes()
    drawn = np.random.default_rng(1)
    for place in drawn.integers(0, len(data) - DIGEST, 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(drawn.integers(8))
        assert execute(resigned(bytes(damaged))).returncode in (0, 2)


def build_from_sources(folder: Path, compiler: str, *flags: str) -> Path:
    """Follow the comment in CMakeLists.txt."""
    assert main(["device", "runner", "--output", str(folder), "--architecture", "x86_64"]) == 0
    options = (f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_CXX_FLAGS={' '.join(flags)}")
    for arguments in (("-S", ".", "-B", "build", *options), ("--build", "build")):
        done = subprocess.run(["cmake", *arguments], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin" / PROGRAM


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_it_builds_without_warnings(compiler, tmp_path, classifier):
    need("cmake", compiler)
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1")
    program = build_from_sources(tmp_path / "source", compiler, *warnings)
    recorded(classifier).save(tmp_path / "model.bnn")
    subprocess.run([program, tmp_path / "model.bnn"], check=True, capture_output=True)


@pytest.mark.slow
def test_sanitizers_find_nothing(tmp_path, classifier):
    need("cmake", "g++")
    flags = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = build_from_sources(tmp_path / "source", "g++", *flags)
    data = recorded(classifier).to_bytes()
    drawn = np.random.default_rng(2)
    np.save(tmp_path / "x.npy", np.ones((4, 8), np.float32))
    files = ("--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy", "--repeats", "2")
    for trial in range(100):
        damaged = bytearray(data)
        if trial:
            damaged[int(drawn.integers(0, len(data) - DIGEST))] ^= 1 << int(drawn.integers(8))
        (tmp_path / "model.bnn").write_bytes(resigned(bytes(damaged)))
        command = [program, tmp_path / "model.bnn", *files]
        # TVM keeps what it has registered until the process ends.
        done = subprocess.run(
            list(map(str, command)),
            capture_output=True,
            text=True,
            env={"ASAN_OPTIONS": "detect_leaks=0"},
        )
        assert done.returncode in ((0, 2) if trial else (0,)), done.stderr
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr


def test_the_program_and_its_libraries_are_all_that_a_board_needs(program, tmp_path, classifier):
    for path in program.parent.iterdir():
        shutil.copy(path, tmp_path)
    recorded(classifier).save(tmp_path / "model.bnn")
    done = subprocess.run([tmp_path / PROGRAM, tmp_path / "model.bnn"], env={}, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in program.parent.iterdir()} == {"", ".so"}
