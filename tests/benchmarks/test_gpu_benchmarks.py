"""What the benchmarks of GPUs time compiles and computes; reports say what is met."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from cuda_graph_harness import compile_as_graph, graphs_here
from cuda_harness import choices_of, disassemble, gpu_architecture, needs_cuobjdump
from cuda_kernels_harness import conv_kernel
from cuda_serial_harness import run_serially, schedule, serialize
from tvm import te
from tvm.ir import IRModule

import bnn_tvm
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import peers, report, results, timing
from benchmarks.gpu.peak import compile_peak
from benchmarks.gpu.prepare import (
    build_kernel,
    list_variants,
    make_product,
    prepare,
    write_operands,
)
from benchmarks.gpu.results import Card, Group
from benchmarks.gpu.work import (
    ALL,
    LATENCY,
    LAYERS,
    MMA,
    PRODUCT,
    THROUGHPUT,
    WGMMA,
    Work,
    draw_words,
)
from benchmarks.kernel_times import KernelTime
from bnn_tvm import compiler, gpu
from bnn_tvm.benchmark.measure import Plan
from bnn_tvm.errors import InputError, WrongNumbersError
from bnn_tvm.runtime import load_tvm_runtime
from bnn_tvm.target import get_target

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
TARGET = get_target("sm_90")
CPU = 1
SMALLEST = next(work for work in LAYERS if "7x7x512" in work.name)


def test_a_product_counts_what_it_should():
    kernel = make_product(64, TARGET)
    scheduled = schedule(kernel.func, TARGET.id)
    assert scheduled.rule == "cuda.multiply"
    (found,) = run_serially(serialize(scheduled.func), [draw_words((64, 2)), *kernel.constants])
    np.testing.assert_array_equal(found[: len(kernel.expected)], kernel.expected)


@needs_cuobjdump
def test_the_peak_is_products_and_nothing_else(tmp_path):
    text = disassemble(compile_peak(TARGET), tmp_path)["peak"]
    loop = text.count("BMMA.168256.AND.POPC")
    assert loop >= 8 and text.count("LDG") == 0 and loop / text.count(";") > 0.1


def test_variants_are_what_the_rule_offers_and_by_hand_first():
    func = conv_kernel(1, 9, 64, TARGET)
    variants = [choices for choices, _ in list_variants(func, TARGET)]
    assert variants[0] == choices_of(func, TARGET.id)
    assert [v["instruction"] for v in variants].count(WGMMA) > 1
    assert {MMA, WGMMA} == {v["instruction"] for v in variants}
    assert len({tuple(v.items()) for v in variants}) == len(variants) > 8
    for choices, _ in list_variants(conv_kernel(1, 5, 64, TARGET), TARGET):
        assert "instruction" not in choices


@needs_cuobjdump
@pytest.mark.slow
def test_a_kernel_compiles_with_each_instruction():
    variants = list_variants(conv_kernel(1, 9, 64, TARGET), TARGET)
    first = {choices["instruction"]: schedule for choices, schedule in reversed(variants)}
    assert all(build_kernel(schedule, TARGET) for schedule in first.values())


@needs_cuobjdump
@pytest.mark.slow
def test_a_layer_is_prepared_with_what_it_must_give(tmp_path):
    """Its first images are those of the scheduled kernel, run serially."""
    pytest.importorskip("mxnet")
    from benchmarks.gpu.prepare import make_layer

    prepare([SMALLEST], tmp_path, TARGET, lambda _: None)
    assert {name.split()[0] for name in SMALLEST.files(tmp_path)} == {MMA, WGMMA}
    stored = dict(np.load(SMALLEST.operands(tmp_path)))
    kernel = make_layer(LAYERS[SMALLEST], SMALLEST.batch, TARGET)
    arrays = [draw_words(tuple(stored["data"])), *kernel.constants]
    (found,) = run_serially(serialize(schedule(kernel.func, TARGET.id).func), arrays)
    assert found.shape == tuple(stored["output"]) and found.dtype == np.uint32
    np.testing.assert_array_equal(found[: len(stored["expected"])], stored["expected"])
    assert np.unpackbits(found.view(np.uint8)).mean() == pytest.approx(0.5, abs=0.2)


CARD = Card("a card", "sm_90", {"torch": "2"}, peak_operations=10**9, copied_bytes=10**6)


def group(work: Work, **seconds: tuple[float, ...]) -> Group:
    """Make a group of works that all do a million operations on a thousand bytes."""
    limits = {results.PEAK: (1e-6, 1e-6), results.COPY: (1e-6, 1e-6)}
    return Group(work.title, CARD, {**seconds, **limits}, 10**6, 1000)


KERNELS = (
    KernelTime("conv2d_1", "conv2d", ("stem",), 10**6, False, 10**5, 1, 2e-6),
    KernelTime("bitserial_conv2d_1", "bitserial_conv2d", ("a", "b"), 10**8, True, 10**4, 2, 1e-6),
    KernelTime("softmax", "softmax", (), 0, False, 100, 1, 1e-9),
)
MEASURED = [
    group(PRODUCT, mma=(2e-9, 2e-9), wgmma=(1e-9, 1e-9), peer=(4e-9, 4e-9)),
    group(SMALLEST, mma=(1e-6, 1e-6), wgmma=(2e-6, 2e-6), peer=(3e-6, 3e-6)),
    dataclasses.replace(
        group(LATENCY[0], mma=(1e-4, 2e-4, 3e-4)), operations=0, nbytes=0, kernels=KERNELS
    ),
]


def test_bars_are_of_the_fastest_instruction():
    bars = {bar.what: bar for bar in report.bars(MEASURED)}
    assert len(bars) == 2 + len(LAYERS) + len(LATENCY) + 1
    # A million operations in 1 ns, and a thousand times as many in 1000 ns.
    assert bars[f"{PRODUCT.title}: of the and peak"].figure == pytest.approx(1.0)
    assert bars[f"{PRODUCT.title}: cuBLAS int8 / ours"].figure == pytest.approx(4.0)
    layer = bars[f"{SMALLEST.title}: PyTorch float16 / ours"]
    assert layer.figure == pytest.approx(3.0) and not layer.met
    latency = bars[f"{LATENCY[0].title}: ms"]
    assert latency.figure == pytest.approx(0.2) and latency.met
    assert bars[f"{THROUGHPUT.title}: float16 ResNet-18 / ours"].figure is None


def test_results_are_kept_and_reported(tmp_path, capsys):
    for one in MEASURED:
        path = results.results_file(tmp_path, one.title)
        path.parent.mkdir(exist_ok=True)
        results.save(one, path)
    assert results.load(tmp_path, [work.title for work in ALL]) == MEASURED
    command.app(["report", "--folder", str(tmp_path)], standalone_mode=False)
    assert "a card, sm_90, torch 2" in capsys.readouterr().out
    text = (tmp_path / "report.md").read_text()
    assert f"Kernels of {LATENCY[0].title}" in text and "bitserial_conv2d_1 | 2 |" in text
    assert (tmp_path / "roofline.png").stat().st_size > 10_000


def test_no_results_and_damaged_ones_are_said(tmp_path):
    with pytest.raises(InputError, match=r"run python -m benchmarks\.gpu time"):
        results.load(tmp_path, [PRODUCT.title])
    path = results.results_file(tmp_path, PRODUCT.title)
    path.parent.mkdir()
    path.write_text("{}")
    with pytest.raises(InputError, match="holds no results of this version"):
        results.load(tmp_path, [PRODUCT.title])


def test_what_is_not_there_is_refused(capsys, monkeypatch):
    for arguments, said in (
        (["time", "--only", "no such layer"], "nothing is called"),
        (["prepare", "--target", "sm_75"], "no GPU from sm_80 on"),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *arguments])
        assert command.main() == InputError.exit_code
        assert said in capsys.readouterr().err


@pytest.fixture
def timer(tmp_path, monkeypatch):
    """Time on the processor, in the place of a card, beside calls in the place of peers."""
    load_tvm_runtime()
    monkeypatch.setattr(gpu, "CUDA", CPU)
    monkeypatch.setattr("bnn_tvm.runtime._find_gpu", lambda architecture: True)
    monkeypatch.setattr(peers, "int8_product", lambda size: lambda: None)
    monkeypatch.setattr(peers, "half_resnet", lambda batch: lambda: None)
    limits = {results.PEAK: lambda: None, results.COPY: lambda: None}
    return timing.Timer(
        tmp_path, Plan(rounds=2, warm_up=1, sample_seconds=1e-4, clock_seconds=1e-3), CARD, limits
    )


def write_product(folder, kernel):
    PRODUCT.place(folder).mkdir(exist_ok=True)
    write_operands(PRODUCT.operands(folder), kernel)
    func = serialize(schedule(kernel.func, TARGET.id).func).with_attr("global_symbol", "main")
    library = tvm.compile(IRModule({"main": func}), get_target("x86-64").to_tvm())
    library.export_library(str(PRODUCT.place(folder) / "mma.so"))


def test_a_kernel_is_checked_and_timed(timer, tmp_path):
    kernel = make_product(64, TARGET)
    write_product(tmp_path, kernel)
    found = timer.time_kernel(PRODUCT)
    assert set(found.seconds) == {MMA, results.PEER, results.PEAK, results.COPY}
    assert all(len(samples) == 2 for samples in found.seconds.values())
    constants = sum(array.nbytes for array in kernel.constants)
    assert found.nbytes == 64 * 2 * 4 + constants + 64 * 64 * 4
    write_product(tmp_path, dataclasses.replace(kernel, expected=kernel.expected + 1))
    with pytest.raises(WrongNumbersError, match=f"{re.escape(PRODUCT.title)}, by mma"):
        timer.time_kernel(PRODUCT)


def test_what_is_wrong_is_not_timed_and_said(timer, tmp_path):
    kernel = make_product(64, TARGET)
    write_product(tmp_path, kernel)
    func = te.create_prim_func(
        [*map(placeholder_like, kernel.func.params[:3]), te.compute((64, 64), lambda i, j: i - j)]
    )
    library = tvm.compile(IRModule({"main": func.with_attr("global_symbol", "main")}))
    library.export_library(str(PRODUCT.place(tmp_path) / "other.so"))
    found = timer.time_kernel(PRODUCT)
    assert found.wrong == ("other",) and "other" not in found.seconds
    ((*_, last),) = [s.rows for s in report.sheets([found]) if s.title.startswith("Products")]
    assert last[:3] == (PRODUCT.title, "other", "wrong numbers")


def placeholder_like(param):
    return te.placeholder(tuple(map(int, param.shape)), str(param.dtype), str(param.name))


@pytest.fixture
def lenet(tmp_path):
    """LeNet for the processor, but called as a CUDA graph."""
    shape, path = (2, 1, 28, 28), tmp_path / "model.so"
    package = bnn_tvm.compile(LENET, target="x86-64", input_shape=shape)
    scheduled = compiler.prepare(LENET, target="x86-64", input_shape=shape).scheduled
    compile_as_graph(scheduled, "x86-64").export_library(str(path))
    return dataclasses.replace(package, library=path.read_bytes())


def test_a_network_is_checked_and_timed(lenet, timer, tmp_path):
    path = THROUGHPUT.place(tmp_path) / "mma.bnn"
    path.parent.mkdir()
    lenet.save(path)
    with graphs_here() as graphs:
        found = timer.time_network(THROUGHPUT)
    assert graphs.recorded and set(found.seconds) >= {MMA, results.PEER}
    assert [k.name for k in found.kernels] == [k.name for k in lenet.manifest.kernels]
    recorded = lenet.recording
    moved = dataclasses.replace(recorded, outputs=(recorded.outputs[0] + 1,))
    dataclasses.replace(lenet, selftest=moved.to_files()).save(path)
    with graphs_here(), pytest.raises(WrongNumbersError, match="differ by 1 "):
        timer.time_network(THROUGHPUT)


@pytest.mark.skipif(bool(gpu_architecture()), reason="this machine has a GPU")
def test_without_a_gpu_each_work_says_why(tmp_path):
    line = [sys.executable, "-m", "benchmarks.gpu", "case", PRODUCT.title, "--folder", tmp_path]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode and "error:" in done.stderr


def test_timing_loads_neither_the_compiler_nor_what_a_card_may_lack():
    code = "import sys, benchmarks.gpu.timing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tvm", "mxnet", "pydantic", "matplotlib"} & set(done.stdout.split())
