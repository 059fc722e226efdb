"""The command line in this process: what each subcommand prints, writes and returns."""

from __future__ import annotations

import json
import sys
import types
import warnings

import numpy as np
import pytest

import bnn_tvm
from bnn_tvm.cli import main
from bnn_tvm.errors import ModelError, TuneLogWarning
from bnn_tvm.package import Package


class FakeCompiler:
    """Stands where `bnn_tvm.compiler` does, and records how it was called."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.calls: list[dict] = []
        self.error: Exception | None = None

    def describe(self, model, **options):
        return self.compile(model, **options).manifest

    def compile(
        self,
        model,
        *,
        target="host",
        input_shape=None,
        params=None,
        tune_log=None,
        float_precision="float32",
        calibration=(),
        progress=None,
    ):
        if tune_log is not None:
            warnings.warn(f"{tune_log} was measured elsewhere", TuneLogWarning, stacklevel=2)
        self.calls.append(
            {"model": str(model), "target": target, "shape": input_shape, "params": params}
        )
        self.precision = (float_precision, [array.tolist() for array in calibration])
        progress("import", 0, 2)
        progress("build", 1, 2)
        if self.error:
            raise self.error
        return self.package


@pytest.fixture
def compiler(classifier, monkeypatch) -> FakeCompiler:
    fake = FakeCompiler(classifier)
    module = types.ModuleType("bnn_tvm.compiler")
    module.compile, module.describe = fake.compile, fake.describe
    monkeypatch.setitem(sys.modules, "bnn_tvm.compiler", module)
    monkeypatch.setattr(bnn_tvm, "compiler", module, raising=False)
    return fake


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def fails(capsys, code: int, message: str, *arguments: object) -> None:
    """The call gives this exit code and one line on stderr, and nothing on stdout."""
    assert call(*arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    assert message in err


def save_input(path, array=None):
    np.save(path, np.ones((2, 8), np.float32) if array is None else array)
    return path


def test_help_lists_commands_and_exit_codes(capsys):
    assert call("--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in ("compile", "run", "inspect", "bench", "targets", "8 input", "3 model"):
        assert name in shown


def test_version(capsys):
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("bnn-tvm 0.")


@pytest.mark.parametrize("name", ["compile", "run", "inspect", "bench", "tune", "targets"])
def test_every_command_has_help(capsys, name):
    assert call(name, "--help") == 0
    assert "--debug" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [(), ("fly",), ("run",), ("targets", "--fast"), ("run", "p", "--threads", "x")]
)
def test_wrong_usage(capsys, arguments):
    fails(capsys, 2, "--help", *arguments)


def test_targets(capsys):
    assert call("targets") == 0
    assert "x86-64-avx2" in capsys.readouterr().out
    assert call("targets", "x86-64-avx2") == 0
    assert "pshufb" in capsys.readouterr().out
    assert call("targets", "--json") == 0
    ids = [target["id"] for target in json.loads(capsys.readouterr().out)]
    assert [name for name in ids if name.startswith("x86")] == [
        "x86-64-zen4",
        "x86-64-vpopcntdq",
        "x86-64-avx2",
        "x86-64-avxvnni",
        "x86-64",
    ]
    assert "cortex-a72" in ids
    fails(capsys, 4, "did you mean x86-64-avx2", "targets", "x86-64-avx3")


def test_compile_writes_the_package_and_the_report(capsys, compiler, tmp_path):
    package, report = tmp_path / "net.bnn", tmp_path / "report.json"
    arguments = ("compile", "net-symbol.json", "--target", "x86-64", "--output", package)
    assert call(*arguments, "--report", report, "--input-shape", "1,1,28,28") == 0
    assert Package.load(package).library == compiler.package.library
    assert json.loads(report.read_text())["layers"][0]["name"] == "fc"
    shown = capsys.readouterr().out
    assert "no 1: its input [x] is not a sign" in shown
    assert "0 of 1 run on bits" in shown
    expected = {"model": "net-symbol.json", "target": "x86-64", "shape": (1, 1, 28, 28)}
    assert compiler.calls == [{**expected, "params": None}]


def test_compile_takes_named_shapes(compiler, tmp_path):
    shapes = ("--input-shape", "a=1,2", "--input-shape", "b=3")
    assert call("compile", "m.json", "--output", tmp_path / "p.bnn", *shapes) == 0
    assert compiler.calls[0]["shape"] == {"a": (1, 2), "b": (3,)}
    assert compiler.calls[0]["target"] == "host"


def test_compile_takes_lower_precision(capsys, compiler, tmp_path):
    arguments = ("compile", "m.json", "--output", tmp_path / "p.bnn")
    assert call(*arguments) == 0
    assert compiler.precision == ("float32", [])
    data = save_input(tmp_path / "x.npy", np.ones((1, 2), np.float32))
    assert call(*arguments, "--float-precision", "int8", "--calibration", data) == 0
    assert compiler.precision == ("int8", [[[1.0, 1.0]]])
    capsys.readouterr()
    fails(capsys, 2, "bf16", *arguments, "--float-precision", "int4")
    fails(capsys, 8, "leave --float-precision", *arguments, "--format", "c", "--calibration", data)


def test_compile_prints_warnings_about_tuning_logs_in_one_line(capsys, compiler, tmp_path):
    arguments = ("--output", tmp_path / "p.bnn", "--tune-log", "my_logs")
    assert call("compile", "m.json", *arguments) == 0
    assert capsys.readouterr().err == "warning: my_logs was measured elsewhere\n"


@pytest.mark.parametrize("shape", ["", "1,x", "1,0", "-1,2", "1,,2", "=1", "1.5"])
def test_wrong_shapes(capsys, compiler, tmp_path, shape):
    output = tmp_path / "p.bnn"
    fails(capsys, 8, "must look like", "compile", "m", "--output", output, f"--input-shape={shape}")
    assert compiler.calls == [] and list(tmp_path.iterdir()) == []


def test_two_shapes_without_names(capsys, compiler, tmp_path):
    shapes = ("--input-shape", "1,2", "--input-shape", "3")
    fails(capsys, 8, "different names", "compile", "m", "--output", tmp_path / "p.bnn", *shapes)


def test_failed_compilations_leave_no_file(capsys, compiler, tmp_path):
    compiler.error = ModelError("node\n'x' is\nnot supported")
    output, report = tmp_path / "p.bnn", tmp_path / "r.json"
    arguments = ("compile", "m.json", "--output", output, "--report", report)
    fails(capsys, 3, "node 'x' is not supported", *arguments)
    compiler.error = ZeroDivisionError("oh")
    fails(capsys, 70, "internal: ZeroDivisionError: oh", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_outputs_are_checked_before_compiling(capsys, compiler, tmp_path):
    missing = tmp_path / "none" / "x"
    good = tmp_path / "p.bnn"
    fails(capsys, 8, "create it first", "compile", "m", "--output", missing)
    fails(capsys, 8, "create it first", "compile", "m", "--output", good, "--report", missing)
    fails(capsys, 8, "is a directory", "compile", "m", "--output", tmp_path)
    assert compiler.calls == []


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(capsys, place):
    arguments = ["targets", "none"]
    arguments.insert(0 if place == "before" else 1, "--debug")
    assert call(*arguments) == 4
    err = capsys.readouterr().err
    assert "Traceback" in err and err.splitlines()[-1].startswith("error: unknown target")
    assert call("targets", "none") == 4
    assert "Traceback" not in capsys.readouterr().err


def test_inspect_a_package(capsys, classifier, classifier_file):
    assert call("inspect", classifier_file) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "fc dense 8x4 32 x 32 2x8 -> 2x4",
        "no 1 matmul portable (portable)",
        "no 1: its input [x] is not a sign",
        "37 of 32 bits",
        "64 of float dense layers",
        "equivalent FLOPs 0.000e+00",
        "128 B in the package",
    ):
        assert words in shown
    assert call("inspect", classifier_file, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kernels"][0]["name"] == "matmul"
    assert facts["package_bytes"] == len(classifier.to_bytes())
    assert facts["totals"]["full_precision_parameters"] == 8 * 4 + 5


def test_inspect_a_model_generates_no_code(capsys, compiler):
    assert call("inspect", "net-symbol.json", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == "classifier" and facts["package_bytes"] is None
    assert compiler.calls[0]["model"] == "net-symbol.json"
    assert call("inspect", "net-symbol.json") == 0
    assert "compile the model to know its size" in capsys.readouterr().out


def test_inspect_draws_a_picture(capsys, classifier_file, tmp_path):
    picture = tmp_path / "graph.png"
    assert call("inspect", classifier_file, "--json", "--picture", picture) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "classifier"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_inspect_checks_where_the_picture_goes_first(capsys, compiler, tmp_path):
    missing = tmp_path / "none" / "graph.png"
    fails(capsys, 8, "create it first", "inspect", "net-symbol.json", "--picture", missing)
    assert compiler.calls == []


def test_inspect_without_matplotlib(capsys, classifier_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = tmp_path / "graph.png"
    fails(capsys, 5, "bnn_tvm[plot]", "inspect", classifier_file, "--picture", picture)
    assert not picture.exists()


def test_run(capsys, classifier, classifier_file, tmp_path):
    x = save_input(tmp_path / "x.npy")
    y = tmp_path / "y.npy"
    assert call("run", classifier_file, "--input", x, "--output", y) == 0
    np.testing.assert_array_equal(np.load(y), classifier.run(np.load(x)))
    assert capsys.readouterr() == ("", "")


def test_run_with_several_arrays(pair, tmp_path):
    pair.save(tmp_path / "p.bnn")
    for name in ("a", "b"):
        save_input(tmp_path / f"{name}.npy", np.float32([1, 2, 3]))
    inputs = ("--input", tmp_path / "a.npy", "--input", tmp_path / "b.npy")
    outputs = ("--output", tmp_path / "sum.npy", "--output", tmp_path / "above.npy")
    assert call("run", tmp_path / "p.bnn", *inputs, *outputs) == 0
    assert np.load(tmp_path / "sum.npy").tolist() == [2, 4, 6]
    assert np.load(tmp_path / "above.npy").tolist() == [False] * 3


def npy_of(array) -> bytes:
    import io

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


PLAIN = npy_of(np.ones((2, 8), np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04" + bytes(50),
        b"hello, this is text",
        PLAIN[:5],
        PLAIN[:30],
        PLAIN[:-1],
        PLAIN.replace(b"(2, 8)", b"(2, 9)"),
        PLAIN.replace(b"(2, 8), ", b"(1<<62,)"),
        PLAIN.replace(b"(2, 8), ", b"(2**9, ("),
        PLAIN.replace(b"'<f4'", b"'|O8'"),
        PLAIN.replace(b"'<f4'", b"'<q9'"),
        PLAIN.replace(b"'descr'", b"'desc\xff'"),
        npy_of(np.array([{"a": 1}], dtype=object)),
    ],
)
def test_files_that_are_no_arrays(capsys, classifier_file, tmp_path, content):
    x, y = tmp_path / "x.npy", tmp_path / "y.npy"
    x.write_bytes(content)
    fails(capsys, 8, "x.npy", "run", classifier_file, "--input", x, "--output", y)
    assert list(tmp_path.iterdir()) == [x]


@pytest.mark.parametrize("array", [np.ones((2, 8)), np.ones((1, 8), np.float32)])
def test_wrong_arrays(capsys, classifier_file, tmp_path, array):
    x, y = save_input(tmp_path / "x.npy", array), tmp_path / "y.npy"
    fails(
        capsys, 8, "x must be float32 of shape (2, 8)",
        "run", classifier_file, "--input", x, "--output", y,
    )  # fmt: skip
    assert not y.exists()


def test_wrong_numbers_of_files(capsys, classifier_file, tmp_path):
    x, y = save_input(tmp_path / "x.npy"), tmp_path / "y.npy"
    fails(
        capsys, 8, "has 1 outputs",
        "run", classifier_file, "--input", x, "--output", y, "--output", tmp_path / "z.npy",
    )  # fmt: skip
    fails(
        capsys, 8, "2 were given",
        "run", classifier_file, "--input", x, "--input", x, "--output", y,
    )  # fmt: skip


def test_damaged_and_missing_packages(capsys, classifier_file, tmp_path):
    x, y, bad = save_input(tmp_path / "x.npy"), tmp_path / "y.npy", tmp_path / "bad.bnn"
    data = bytearray(classifier_file.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    for command in (("inspect", bad), ("bench", bad), ("run", bad, "--input", x, "--output", y)):
        fails(capsys, 7, "checksum does not match", *command)
    fails(capsys, 7, "No such file", "inspect", tmp_path / "none.bnn")
    assert not y.exists()


def test_bench(capsys, classifier_file, tmp_path):
    x, report, chart = save_input(tmp_path / "x.npy"), tmp_path / "r.json", tmp_path / "c.png"
    arguments = ("bench", classifier_file, "--baseline", classifier_file, "--rounds", 2)
    files = ("--input", x, "--json", report, "--chart", chart)
    assert call(*arguments, "--per-layer", "--device", "local", *files) == 0
    shown = capsys.readouterr().out
    assert "time / ours" in shown and "matmul" in shown
    assert len(json.loads(report.read_text())["models"]) == 2
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_bench_errors(capsys, classifier_file, tmp_path):
    fails(capsys, 6, "unknown device 'moon'", "bench", classifier_file, "--device", "moon")
    fails(capsys, 6, "threads must be", "bench", classifier_file, "--threads", 100_000)
    fails(capsys, 8, "create it first", "bench", classifier_file, "--json", tmp_path / "no" / "f")
    missing = tmp_path / "net-symbol.json"
    missing.write_text("{}")
    fails(capsys, 3, "net-symbol.json", "bench", classifier_file, "--baseline", missing)
