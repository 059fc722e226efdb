"""Benchmarks of real small packages: what is checked, timed and reported."""

from __future__ import annotations

import dataclasses
import json
import sys

import numpy as np
import pytest
from rich.console import Console

from bnn_tvm.benchmark.bench import BenchReport, ModelReport, bench, compare_outputs
from bnn_tvm.benchmark.chart import draw_chart
from bnn_tvm.benchmark.contestants import Contestant, check_outputs, open_mxnet
from bnn_tvm.benchmark.environment import Environment, describe_environment
from bnn_tvm.benchmark.layers import KernelReport, find_rival, random_tensor
from bnn_tvm.benchmark.measure import Plan, Spread
from bnn_tvm.benchmark.report import format_seconds, kernel_table, model_table, to_json
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import InputError, ToolchainError
from bnn_tvm.package import Package
from bnn_tvm.package.manifest import DTYPE_BYTES, TensorInfo
from bnn_tvm.runtime import ALIGNMENT

HERE = LocalDevice.detect()
QUICK = Plan(rounds=3, warm_up=1, sample_seconds=1e-5)
ENVIRONMENT = Environment("a CPU", "x86_64", 4, 1, "Linux 6", {"python": "3.11"})


def text(renderable) -> str:
    console = Console(width=200, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.fixture
def report() -> BenchReport:
    second = Spread(1e-3, 0.5e-3, 2e-3, 0.25e-3)
    models = (
        ModelReport("ours.bnn", second, Spread(1, 1, 1, 1), 0.0, 1.0),
        ModelReport("mxnet", second, Spread(5.5, 5, 6, 4), 0.25, 0.5),
    )
    kernel = KernelReport(
        "conv", "bitserial_conv2d", "x86", "hand", ("layer[0]",), 10**6, True, second, 2.0,
        {"other": Spread(8, 7, 9, 6)},
    )  # fmt: skip
    return BenchReport("net", "x86-64", ENVIRONMENT, models, (kernel,))


def test_a_package_against_itself(classifier_file):
    report = bench(classifier_file, [classifier_file], HERE, per_layer=True, plan=QUICK)
    ours, other = report.models
    assert ours.label == "classifier.bnn" and other.label.endswith("classifier.bnn (1)")
    assert ours.speedup == Spread(1, 1, 1, 1)
    assert (other.largest_difference, other.same_class) == (0, 1)
    assert all(model.seconds.minimum > 0 for model in report.models)
    assert report.target == "x86-64" and report.environment.threads == 1
    matmul, relu = report.kernels
    assert list(matmul.speedups) == [other.label] and relu.speedups == {}
    assert matmul.gops == pytest.approx(2 * matmul.macs / matmul.seconds.median / 1e9)


def test_layers_are_not_timed_unless_asked(classifier_file):
    assert bench(classifier_file, [], HERE, plan=QUICK).kernels == ()


def test_given_inputs_are_used(classifier, classifier_file):
    with pytest.raises(InputError, match="x must be float32"):
        bench(classifier_file, [], HERE, inputs=[np.zeros(3)], plan=QUICK)
    with pytest.raises(InputError, match="1 inputs, 2 were given"):
        bench(classifier_file, [], HERE, inputs=[np.zeros(3)] * 2, plan=QUICK)


def test_outputs_that_are_not_finite_are_refused_before_timing(classifier_file):
    bad = np.zeros((2, 8), np.float32)
    bad[0, 0], bad[1, 0] = np.inf, -np.inf
    with pytest.raises(InputError, match=r"classifier\.bnn gives NaN or infinity"):
        bench(classifier_file, [], HERE, inputs=[bad], plan=QUICK)
    nan = Contestant("x", None, lambda inputs: (np.float32([1, np.nan]),))
    with pytest.raises(InputError, match="x gives NaN"):
        check_outputs(nan, {})


def test_a_baseline_of_another_network_is_refused(classifier_file, pair, tmp_path):
    pair.save(tmp_path / "pair.bnn")
    with pytest.raises(InputError):
        bench(classifier_file, [tmp_path / "pair.bnn"], HERE, plan=QUICK)
    with pytest.raises(InputError, match="baseline b gives outputs of shapes"):
        compare_outputs("b", (np.zeros(3),), (np.zeros(4),))


def test_outputs_are_compared():
    ours = (np.float32([[1, 2], [3, 1], [0, 1], [5, 5]]),)
    theirs = (np.float32([[1, 2.5], [1, 3], [0, 1], [5, 5]]),)
    assert compare_outputs("b", theirs, ours) == (2.0, 0.75)


def test_equal_work_is_matched_by_numbers_and_not_by_names(classifier):
    own = classifier.manifest
    matmul, relu = own.kernels
    renamed = dataclasses.replace(own.layers[0], name="other")
    other = dataclasses.replace(own, layers=(renamed,))
    assert find_rival(matmul, own, other) == matmul
    assert find_rival(relu, own, other) is None
    for change in ({"op": "conv2d"}, {"weight_shape": (1,)}, {"input_shape": (1,)}, {"macs": 1}):
        changed = dataclasses.replace(renamed, **change)
        assert find_rival(matmul, own, dataclasses.replace(own, layers=(changed,))) is None


@pytest.mark.parametrize("dtype", sorted(DTYPE_BYTES))
def test_random_tensors_are_aligned_full_and_repeatable(dtype):
    info = TensorInfo("x", (64, 5), dtype, "")
    first, second = random_tensor(info), random_tensor(info)
    np.testing.assert_array_equal(first, second)
    assert (first.dtype, first.shape) == (dtype, (64, 5))
    assert first.ctypes.data % ALIGNMENT == 0
    assert len(np.unique(first)) > (1 if dtype == "bool" else 100)
    if dtype.startswith(("int", "uint")):
        assert first.max() > np.iinfo(dtype).max // 2


def test_random_bfloat16_numbers_are_as_common_as_those_of_layers():
    bits = random_tensor(TensorInfo("x", (1 << 14,), "uint16", "")).astype(np.uint32)
    numbers = (bits << 16).view(np.float32)
    assert np.abs(numbers).max() < 10 and (np.abs(numbers) > 1e-9).all()
    assert abs(numbers.std() - 1) < 0.05


def test_environment_names_what_matters():
    facts = describe_environment(HERE, 2)
    assert (facts.threads, facts.cores, facts.cpu_model) == (2, HERE.cores, HERE.cpu_model)
    assert facts.versions["tvm"].startswith("0.27") and "python" in facts.versions


def test_json_holds_every_number(report):
    data = json.loads(to_json(report))
    assert data["models"][1]["speedup"]["median"] == 5.5
    assert data["kernels"][0]["speedups"]["other"]["minimum"] == 6
    assert data["environment"]["versions"] == {"python": "3.11"}


def test_tables_show_names_and_ratios(report):
    models, kernels = text(model_table(report)), text(kernel_table(report))
    for part in ("ours.bnn", "mxnet", "1 ms", "500 us - 2 ms", "5.50x", "50%", "a CPU"):
        assert part in models
    for part in ("layer[0]", "other / ours", "8.00x", "x86 (hand)", "bitserial_conv2d"):
        assert part in kernels


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(2.0, "2 s"), (0.0123, "12.3 ms"), (1.5e-6, "1.5 us"), (4.2e-8, "42 ns"), (0.0, "0 ns")],
)
def test_times_have_readable_units(seconds, shown):
    assert format_seconds(seconds) == shown


def test_the_chart_is_a_picture(report):
    pytest.importorskip("matplotlib")
    assert draw_chart(report).startswith(b"\x89PNG")


def test_a_missing_matplotlib_is_reported(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ToolchainError, match="bnn_tvm\\[plot\\]"):
        draw_chart(report)


def write_symbol(folder):
    symbol = folder / "net-symbol.json"
    symbol.write_text("{}")
    (folder / "net-0000.params").write_bytes(b"")
    return symbol


def test_a_missing_mxnet_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setitem(sys.modules, "bnn_tvm.gluon.baseline", None)
    with pytest.raises(ToolchainError, match="bnn_tvm\\[train\\]"):
        open_mxnet("peer", write_symbol(tmp_path), "data", 1)


def test_an_mxnet_with_other_threads_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setitem(sys.modules, "mxnet", sys)
    with pytest.raises(ToolchainError, match="OMP_NUM_THREADS=1 before"):
        open_mxnet("peer", write_symbol(tmp_path), "data", 1)


def test_packages_with_equal_names_stay_apart(classifier: Package, tmp_path):
    paths = [tmp_path / folder / "net.bnn" for folder in ("a", "b", "c")]
    for path in paths:
        path.parent.mkdir()
        classifier.save(path)
    report = bench(paths[0], paths[1:], HERE, plan=QUICK)
    assert len({model.label for model in report.models}) == 3
