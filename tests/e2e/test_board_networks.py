"""Networks on boards and in C give what the shared libraries of the same networks give here."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import numpy as np
import pytest
from c_harness import AARCH64, ARMV7, HOST, build, need, run_outputs
from mxnet_harness import export, randomize
from network_grammar import draw_network

import bnn_tvm
from bnn_tvm import zoo
from bnn_tvm.benchmark.runner import build_program
from bnn_tvm.compiler import describe
from bnn_tvm.importer import Graph

IMAGE = (1, 3, 64, 64)
MEGABYTE = 10**6


def resnet() -> Graph:
    net = zoo.get_model("resnete18")
    randomize(net, IMAGE, 3)
    return export(net, IMAGE).graph


def compare_on_host(graph: Graph, shape: tuple[int, ...], folder) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    program = build(bnn_tvm.compile_c(graph, target="host", input_shape=shape), folder)
    expected = bnn_tvm.compile(graph, input_shape=shape).run(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for ours, theirs in zip(run_outputs(program, HOST, x, len(expected)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_networks(seed, tmp_path):
    drawn = draw_network(seed)
    randomize(drawn.net, drawn.shape, seed)
    compare_on_host(export(drawn.net, drawn.shape).graph, drawn.shape, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_more_random_networks(seed, tmp_path):
    drawn = draw_network(seed)
    randomize(drawn.net, drawn.shape, seed)
    compare_on_host(export(drawn.net, drawn.shape).graph, drawn.shape, tmp_path)


def with_sums(graph: Graph, shape: tuple[int, ...]) -> Graph:
    """Let a network give the sums of its binary layers too: equal sums are equal bits."""
    layers = describe(graph, input_shape=shape).layers
    binary = [layer.name for layer in layers if layer.lowered]
    assert len(binary) == 16
    logits = graph.nodes[graph.heads[0].node].name
    return graph.extract(graph.data_inputs, [*binary, logits])


def compare(given: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    """Sums must be equal, logits close."""
    for place, (ours, theirs) in enumerate(zip(given[:-1], expected[:-1], strict=True)):
        np.testing.assert_array_equal(ours, theirs, err_msg=f"binary layer {place}")
    np.testing.assert_allclose(given[-1], expected[-1], atol=1e-4 * np.abs(expected[-1]).max())


def test_resnet_on_a_board_has_the_bits_and_logits_of_the_host(tmp_path):
    AARCH64.need()
    need("cmake", "aarch64-linux-gnu-g++")
    whole = with_sums(resnet(), IMAGE)
    package = bnn_tvm.compile(whole, target=AARCH64.target, input_shape=IMAGE)
    (x,) = package.recording.inputs(package.manifest.inputs)
    np.save(tmp_path / "x.npy", x)
    names = [tmp_path / f"y{i}.npy" for i in range(len(package.manifest.outputs))]
    outputs = [word for name in names for word in ("--output", name)]
    program = build_program(package, tmp_path)
    command = [*AARCH64.emulator, *program.files, "--input", tmp_path / "x.npy", *outputs]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    compare([np.load(name) for name in names], package.recording.outputs)


@pytest.mark.slow
@pytest.mark.parametrize("board, size", [(AARCH64, 64), (ARMV7, 64), (AARCH64, 224)], ids=str)
def test_resnet_in_c_on_a_board_has_the_bits_and_logits_of_the_host(board, size, tmp_path):
    board.need()
    shape = (1, 3, size, size)
    whole = with_sums(resnet(), shape)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    expected = bnn_tvm.compile(whole, input_shape=shape).run(x)
    package = bnn_tvm.compile_c(whole, target=board.target, input_shape=shape)
    compare(run_outputs(build(package, tmp_path, board), board, x, len(expected)), expected)


@pytest.mark.slow
def test_resnet_fits_the_flash_of_a_board():
    package = bnn_tvm.compile_c(resnet(), target=AARCH64.target, input_shape=(1, 3, 224, 224))
    assert sum(map(len, package.files.values())) <= 4.4 * MEGABYTE
