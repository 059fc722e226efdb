"""Draws the graph of a lowered model as an image, where matplotlib is installed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError, ToolchainError
from ..package.manifest import INPUT, LayerInfo, NodeInfo
from ..package.summary import Summary
from .graph_geometry import Box, Drawing, Line, draw
from .graph_layout import lay_out

_ONE_BIT, _MULTI_BIT, _FLOAT, _OTHER = "#1b6ca8", "#3a9d8f", "#d9822b", "#e4e4e4"
_BITS, _NUMBERS = _ONE_BIT, "#8a8a8a"
_MEANINGS = {
    _ONE_BIT: "layer on 1-bit weights and inputs",
    _MULTI_BIT: "layer on bit planes",
    _FLOAT: "layer in float",
    _OTHER: "other operation",
}
_DENSE_DOTS, _SPARSE_DOTS, _LARGEST_SIDE = 150, 60, 6000
_MARGIN, _HEAD = 0.3, 0.8
_LINE_HEIGHT = 0.145
# Of one letter in inches, for each size of type in points.
_LETTER = {7.5: 0.064, 6.0: 0.05}


@dataclass(frozen=True)
class _Face:
    """How a node looks: its colours and its lines of text, the first one larger."""

    color: str
    ink: str
    lines: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        letters = [*_LETTER.values()]
        widths = [letters[min(number, 1)] * len(line) for number, line in enumerate(self.lines)]
        return max(widths) + 0.2, _LINE_HEIGHT * len(self.lines) + 0.1


def draw_graph(summary: Summary) -> bytes:
    """Draw what runs on bits, what does not, and what reads what, as a PNG image.

    Raises
    ------
    InputError
        If the summary has no graph.
    ToolchainError
        If matplotlib is not installed.
    """
    if not summary.graph:
        raise InputError(f"{summary.name} has no graph to draw; compile the model again")
    faces = _faces(summary)
    drawing = draw(summary.graph, lay_out(summary.graph), [face.size for face in faces])
    return _render(summary, drawing, faces)


def _faces(summary: Summary) -> list[_Face]:
    layers = {layer.name: layer for layer in summary.layers}
    prefix = _common_prefix([layer.name for layer in summary.layers])
    return [_face(node, layers, prefix) for node in summary.graph]


def _common_prefix(names: Sequence[str]) -> str:
    """Return what all names begin with, up to an underscore; nothing for a single name."""
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in same) if len(names) > 1 else ""
    return common[: common.rfind("_") + 1]


def _face(node: NodeInfo, layers: Mapping[str, LayerInfo], prefix: str) -> _Face:
    layer = layers.get(node.name)
    if layer is not None:
        name = node.name.removeprefix(prefix).removesuffix("_fwd")
        return _Face(_layer_color(layer), "white", _lines(name, _shapes(layer), node.epilogue))
    if node.kind == INPUT:
        return _Face("white", "black", (node.name,))
    kind = "" if node.kind == "elementwise" else node.kind.rstrip("123d").replace("_", " ")
    return _Face(_OTHER, "#303030", _lines(kind, node.epilogue) or (node.kind,))


def _lines(*texts: str) -> tuple[str, ...]:
    """Keep the texts that say something, the last one, an epilogue, shortened."""
    *texts_before, epilogue = texts
    return tuple(text for text in (*texts_before, _shorten(epilogue)) if text)


def _layer_color(layer: LayerInfo) -> str:
    if not layer.lowered:
        return _FLOAT
    return _ONE_BIT if layer.weight_bits == layer.activation_bits == 1 else _MULTI_BIT


def _shapes(layer: LayerInfo) -> str:
    """Write kernel, channels, size of the output and bits of a layer on one line."""
    outputs, inputs, *kernel = layer.weight_shape
    parts = [_extents(kernel)] if kernel else []
    parts.append(f"{inputs} → {outputs}")
    parts += [_extents(layer.output_shape[2:])] if kernel else []
    if layer.lowered:
        parts.append(f"{layer.weight_bits} x {layer.activation_bits} bit")
    return ", ".join(parts)


def _extents(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _shorten(epilogue: str) -> str:
    words = epilogue.split("+")
    return epilogue if len(words) <= 6 else "+".join([*words[:3], "...", *words[-2:]])


def _render(summary: Summary, drawing: Drawing, faces: Sequence[_Face]) -> bytes:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise ToolchainError(
            "pictures need matplotlib, which is not installed; pip install 'bnn_tvm[plot]'"
        ) from exc
    width = max(drawing.width + 2 * _MARGIN, 5.5)
    height = drawing.height + _HEAD + 2 * _MARGIN
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    left = (width - drawing.width) / 2
    axes.set_xlim(-left, width - left)
    axes.set_ylim(_MARGIN + _HEAD - height, _MARGIN + _HEAD)
    axes.axis("off")
    for line in drawing.lines:
        _add_line(axes, line)
    for box, face in zip(drawing.boxes, faces, strict=True):
        _add_box(axes, box, face)
    _add_head(axes, summary, {face.color for face in faces})
    dots = min(_DENSE_DOTS, max(_SPARSE_DOTS, int(_LARGEST_SIDE / max(width, height))))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=dots)
    return image.getvalue()


def _add_line(axes: Any, line: Line) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    codes = [Path.MOVETO, *[Path.CURVE4] * (len(line.points) - 1)]
    axes.add_patch(
        FancyArrowPatch(
            path=Path(line.points, codes),
            arrowstyle="-|>",
            mutation_scale=6,
            linewidth=1.4 if line.on_bits else 0.9,
            color=_BITS if line.on_bits else _NUMBERS,
            shrinkA=0,
            shrinkB=0,
            zorder=1,
        )
    )


def _add_box(axes: Any, box: Box, face: _Face) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (box.centre.x - box.width / 2, box.centre.y - box.height / 2)
    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(
        FancyBboxPatch(
            corner, box.width, box.height, boxstyle=style,
            facecolor=face.color, edgecolor="#606060", linewidth=0.5, zorder=2,
        )
    )  # fmt: skip
    large, small = _LETTER
    y = box.centre.y + _LINE_HEIGHT * (len(face.lines) - 1) / 2
    for number, text in enumerate(face.lines):
        size = small if number else large
        axes.text(
            box.centre.x, y - number * _LINE_HEIGHT, text,
            color=face.ink, fontsize=size, ha="center", va="center", zorder=3,
        )  # fmt: skip


def _add_head(axes: Any, summary: Summary, colors: set[str]) -> None:
    """Write the title and the legend above the drawing."""
    from matplotlib.artist import Artist
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    middle = sum(axes.get_xlim()) / 2
    top = axes.get_ylim()[1] - _MARGIN / 2
    title = f"{summary.name} for {summary.target.id}"
    counts = f"{summary.lowered} of {len(summary.layers)} layers run on bits"
    axes.text(middle, top, title, fontsize=11, ha="center", va="top")
    axes.text(middle, top - 0.22, counts, fontsize=8, ha="center", va="top")
    handles: list[Artist] = [
        Patch(facecolor=color, edgecolor="#606060", linewidth=0.5, label=label)
        for color, label in _MEANINGS.items()
        if color in colors
    ]
    handles += [
        Line2D([], [], color=_BITS, linewidth=1.4, label="read as bits"),
        Line2D([], [], color=_NUMBERS, linewidth=0.9, label="other tensors"),
    ]
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(middle, top - 0.36),
        bbox_transform=axes.transData, ncols=3, fontsize=6.5, frameon=False,
    )  # fmt: skip
