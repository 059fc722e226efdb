"""A batch that runs in parts gives the same numbers in every form, and every report says so."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

import numpy as np
import pytest
from c_harness import HOST, LENET, LENET_SHAPE, build, need, report, run_array

import bnn_tvm
from bnn_tvm.benchmark.runner import build_program, run_program
from bnn_tvm.cli.tables import totals_table
from bnn_tvm.compiler import prepare
from bnn_tvm.package.summary import Summary
from bnn_tvm.target import get_target
from bnn_tvm.tuning.tasks import find_tasks
from bnn_tvm.zoo.mnist import load_digits

BATCH, IMAGES = 4, 2
SHAPE = (BATCH, *LENET_SHAPE[1:])


@pytest.fixture(scope="module")
def target(tmp_path_factory) -> str:
    """A processor whose cache holds the activations of two images."""
    data = importlib.resources.files("bnn_tvm.targets") / "x86-64-avx2.toml"
    text = (
        data.read_text()
        .replace('"x86-64-avx2"', '"small-cache"')
        .replace("l2_kib = 256", "l2_kib = 384")
    )
    path = tmp_path_factory.mktemp("target") / "small-cache.toml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def package(target):
    return bnn_tvm.compile(LENET, target=target, input_shape=SHAPE)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits()[1].images[:BATCH]


@pytest.fixture(scope="module")
def expected(digits) -> np.ndarray:
    return bnn_tvm.compile(LENET, target="x86-64-avx2", input_shape=SHAPE).run(digits)


def test_the_package_gives_the_numbers_of_the_whole(package, digits, expected):
    assert package.manifest.images_at_a_time == IMAGES
    np.testing.assert_allclose(package.run(digits), expected, rtol=0, atol=1e-5)


def test_so_does_the_c_library(target, tmp_path: Path, digits, expected):
    need("gcc")
    program = build(bnn_tvm.compile_c(LENET, target=target, input_shape=SHAPE), tmp_path)
    np.testing.assert_allclose(run_array(program, HOST, digits), expected, rtol=0, atol=1e-5)
    steps = report(program, HOST, "--repeats", "2")["steps"]
    assert sum("conv2d" in step["kernel"] for step in steps) == 2 * BATCH // IMAGES


def test_so_does_the_runner(package, tmp_path: Path):
    need("cmake", "x86_64-linux-gnu-g++")
    program = build_program(package, tmp_path)
    found = run_program(package.manifest, program, "env", ["--repeats", "2"])
    assert found["self_test"]["passed"]
    convolutions = [step for step in found["steps"] if "conv2d" in step["kernel"]]
    assert len(convolutions) == 2 * BATCH // IMAGES


def test_reports_count_calls_and_what_each_computes(package):
    manifest = package.manifest
    for kernel in manifest.kernels:
        layers = [layer for layer in manifest.layers if layer.kernel == kernel.name]
        assert kernel.macs * kernel.calls == sum(layer.macs for layer in layers)
        assert not layers or kernel.calls == (BATCH // IMAGES if "conv" in kernel.kind else 1)
    rows = zip(*(column.cells for column in totals_table(Summary.of(package)).columns), strict=True)
    assert ("batch", "2 image(s) at a time") in [row[:2] for row in rows]


def test_whole_batches_need_no_word():
    summary = Summary.of_manifest(
        prepare(LENET, target="x86-64-vpopcntdq", input_shape=SHAPE).manifest
    )
    assert summary.images_at_a_time == 0
    assert "batch" not in totals_table(summary).columns[0].cells


def test_tuning_weighs_kernels_by_their_calls(target):
    prepared = prepare(LENET, target=target, input_shape=SHAPE)
    tasks = find_tasks(prepared.lowered, prepared.manifest.kernels, get_target(target))
    calls = {kernel.kind: kernel.calls for kernel in prepared.manifest.kernels}
    assert tasks and all(task.uses == calls[task.label.split()[0]] for task in tasks)
