"""C packages of other networks give what the shared libraries of the same networks give."""

from __future__ import annotations

import numpy as np
import pytest
from c_harness import AARCH64, HOST, build, run_array, run_outputs
from mxnet_harness import export, randomize
from network_grammar import draw_network

import bnn_tvm
from bnn_tvm import zoo
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


@pytest.mark.slow
def test_resnet_on_a_board_has_the_bits_and_logits_of_the_host(tmp_path):
    """The sums of all binary layers are integers: equal sums are equal bits."""
    AARCH64.need()
    graph = resnet()
    layers = bnn_tvm.compile(graph, input_shape=IMAGE).manifest.layers
    binary = [layer.name for layer in layers if layer.lowered]
    logits = graph.nodes[graph.heads[0].node].name
    whole = graph.extract(graph.data_inputs, [*binary, logits])
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    *sums, scores = bnn_tvm.compile(whole, input_shape=IMAGE).run(x)
    package = bnn_tvm.compile_c(whole, target=AARCH64.target, input_shape=IMAGE)
    program = build(package, tmp_path, AARCH64)
    *board_sums, board_scores = run_outputs(program, AARCH64, x, len(binary) + 1)
    assert len(binary) == 16
    for name, ours, theirs in zip(binary, board_sums, sums, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    np.testing.assert_allclose(board_scores, scores, atol=1e-4 * np.abs(scores).max())


@pytest.mark.slow
def test_resnet_fits_the_flash_of_a_board(tmp_path):
    AARCH64.need()
    shape = (1, 3, 224, 224)
    package = bnn_tvm.compile_c(resnet(), target=AARCH64.target, input_shape=shape)
    assert sum(map(len, package.files.values())) <= 4.4 * MEGABYTE
    x = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    assert np.isfinite(run_array(build(package, tmp_path, AARCH64), AARCH64, x)).all()
