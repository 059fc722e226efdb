"""The picture of a graph: rows, lanes and columns, boxes and lines, and the image."""

from __future__ import annotations

import dataclasses
import itertools
import sys

import numpy as np
import pytest

from bnn_tvm.benchmark.graph_geometry import draw
from bnn_tvm.benchmark.graph_layout import lay_out
from bnn_tvm.benchmark.graph_picture import draw_graph
from bnn_tvm.errors import InputError, ToolchainError
from bnn_tvm.package.manifest import LayerInfo, NodeInfo
from bnn_tvm.package.summary import Summary

PNG = b"\x89PNG"


def graph_of(*nodes: tuple[str, tuple[int, ...]]) -> tuple[NodeInfo, ...]:
    return tuple(
        NodeInfo(f"n{position}", kind, "", "", inputs)
        for position, (kind, inputs) in enumerate(nodes)
    )


def residual_blocks(count: int) -> tuple[NodeInfo, ...]:
    """Blocks as in a ResNetE stage that halves: a layer, a pooling and a shortcut beside it."""
    nodes: list[tuple[str, tuple[int, ...]]] = [("input", ())]
    for _ in range(count):
        last = len(nodes) - 1
        nodes += [
            ("avg_pool2d", (last,)),
            ("bitserial_conv2d", (last,)),
            ("conv2d", (last + 1, last + 2)),
            ("bitserial_conv2d", (last + 3, last + 3, last)),
        ]
    return graph_of(*nodes)


def random_graph(seed: int, size: int = 60) -> tuple[NodeInfo, ...]:
    rng = np.random.default_rng(seed)
    nodes: list[tuple[str, tuple[int, ...]]] = [("input", ())]
    for position in range(1, size):
        near = rng.integers(max(0, position - 8), position, rng.integers(1, 4))
        nodes.append((("concat", "bitserial_conv2d")[rng.integers(2)], tuple(map(int, near))))
    return graph_of(*nodes)


GRAPHS = [residual_blocks(3), residual_blocks(40), *map(random_graph, range(5))]


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_reads_stands_below_what_it_reads(graph):
    rows = lay_out(graph).rows
    assert all(rows[i] < rows[n] for n, node in enumerate(graph) for i in node.inputs)


@pytest.mark.parametrize("graph", GRAPHS)
def test_no_two_things_share_a_place(graph):
    layout = lay_out(graph)
    places = list(zip(layout.rows, layout.lanes, strict=True))
    places += [(row, lane) for (_, row), lane in layout.wires.items()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("graph", GRAPHS)
def test_long_edges_have_a_wire_in_every_row_that_they_pass(graph):
    layout = lay_out(graph)
    for target, node in enumerate(graph):
        for source in node.inputs:
            passed = range(layout.rows[source] + 1, layout.rows[target])
            assert all((source, row) in layout.wires for row in passed)


@pytest.mark.parametrize("graph", GRAPHS)
def test_columns_divide_the_rows(graph):
    layout = lay_out(graph)
    assert list(itertools.chain(*layout.columns)) == list(range(max(layout.rows) + 1))
    lengths = [len(column) for column in layout.columns]
    assert max(lengths) - min(lengths) <= 12


def test_the_trunk_runs_through_binary_layers():
    layout = lay_out(residual_blocks(2))
    assert layout.lanes == (0, 1, 0, 0, 0, 1, 0, 0, 0)
    assert len(layout.columns) == 1 and len(lay_out(residual_blocks(40)).columns) > 2


def test_cuts_prefer_where_few_edges_pass():
    """Of chains with a wide part around the middle, the cut avoids that part."""
    nodes = [("input", ()), *((("a"), (i,)) for i in range(14))]
    nodes += [("b", (14,)), ("b", (14,)), ("b", (14,)), ("c", (15, 16, 17))]
    nodes += [("d", (len(nodes) - 1 + i,)) for i in range(13)]
    graph = graph_of(*nodes)
    layout = lay_out(graph)
    (cut,) = [column.start for column in layout.columns[1:]]
    passing = sum(
        layout.rows[i] < cut <= layout.rows[n] for n, node in enumerate(graph) for i in node.inputs
    )
    assert passing == 1


@pytest.mark.parametrize("graph", GRAPHS)
def test_boxes_do_not_touch_and_lines_join_them(graph):
    rng = np.random.default_rng(len(graph))
    sizes = [(float(w), 0.3) for w in rng.uniform(0.5, 2, len(graph))]
    drawing = draw(graph, lay_out(graph), sizes)
    for one, other in itertools.combinations(drawing.boxes, 2):
        apart_x = abs(one.centre.x - other.centre.x) - (one.width + other.width) / 2
        apart_y = abs(one.centre.y - other.centre.y) - (one.height + other.height) / 2
        assert max(apart_x, apart_y) > 0.05
    edges = [(source, target) for target, node in enumerate(graph) for source in node.inputs]
    ends = sorted(
        (line.points[0].y, line.points[-1].y) for line in drawing.lines if len(line.points) % 3 == 1
    )
    boxes = drawing.boxes
    assert ends == sorted((boxes[s].centre.y - 0.15, boxes[t].centre.y + 0.15) for s, t in edges)
    assert all(0 <= box.centre.x <= drawing.width for box in boxes)
    assert all(-drawing.height <= box.centre.y <= 0 for box in boxes)


def test_bits_and_numbers_between_two_layers_run_side_by_side():
    graph = graph_of(("input", ()), ("bitserial_conv2d", (0,)), ("bitserial_conv2d", (1, 1)))
    drawing = draw(graph, lay_out(graph), [(1.0, 0.3)] * 3)
    bits, numbers = drawing.lines[1:]
    assert (bits.on_bits, numbers.on_bits) == (True, False)
    assert {p.x for p in bits.points} != {p.x for p in numbers.points}
    assert len({p.x for p in bits.points}) == len({p.x for p in numbers.points}) == 1


def layer(name: str, bits: int, activation_bits: int) -> LayerInfo:
    reason = "" if bits < 32 else "float"
    return LayerInfo(
        name=name,
        op="conv2d",
        lowered=not reason,
        reason=reason,
        kernel="k",
        input_shape=(1, 3, 8, 8),
        output_shape=(1, 4, 8, 8),
        weight_shape=(4, 3, 3, 3),
        weight_bits=bits,
        activation_bits=activation_bits,
        macs=1,
        weight_bytes=1,
        padding="",
        epilogue="",
    )


def colors_of(image: bytes) -> set[str]:
    import io

    from matplotlib.image import imread

    pixels = (imread(io.BytesIO(image))[..., :3] * 255).round().astype(int).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02x}{:02x}{:02x}".format(*rgb) for rgb in found[counts > 1500]}


def test_layers_are_coloured_by_what_they_run_on(classifier):
    graph = tuple(
        NodeInfo(name, kind, "k", "offset+batchnorm+add+sign+pack", inputs)
        for name, kind, inputs in [
            ("net_a", "bitserial_conv2d", ()),
            ("net_b", "bitserial_conv2d", (0,)),
            ("net_c", "conv2d", (1,)),
        ]
    )
    layers = (layer("net_a", 1, 1), layer("net_b", 2, 1), layer("net_c", 32, 32))
    summary = Summary.of_manifest(classifier.manifest)
    whole = draw_graph(dataclasses.replace(summary, graph=graph, layers=layers))
    assert whole.startswith(PNG)
    assert {"#1b6ca8", "#3a9d8f", "#d9822b"} <= colors_of(whole)
    part = draw_graph(dataclasses.replace(summary, graph=graph[:1], layers=layers[:1]))
    assert "#1b6ca8" in colors_of(part) and not {"#3a9d8f", "#d9822b"} & colors_of(part)


def test_a_package_can_be_drawn(classifier):
    assert draw_graph(Summary.of(classifier)).startswith(PNG)


def test_a_summary_without_a_graph_is_refused(classifier):
    summary = dataclasses.replace(Summary.of_manifest(classifier.manifest), graph=())
    with pytest.raises(InputError, match="no graph to draw"):
        draw_graph(summary)


def test_missing_matplotlib_is_named(classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ToolchainError, match=r"pip install 'bnn_tvm\[plot\]'"):
        draw_graph(Summary.of_manifest(classifier.manifest))
