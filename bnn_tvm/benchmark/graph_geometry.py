"""Turns rows and lanes into boxes and lines on paper; lengths are in inches, y points up."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..package.manifest import NodeInfo
from .graph_layout import BITSERIAL, Layout, edges_across

_ROW_GAP = 0.3
_LANE_GAP = 0.22
_GUTTER = 0.5
_WIRE_WIDTH = 0.12
# Between lines that end at one box, and between lines in a gutter.
_PORT, _TRACK = 0.14, 0.07


class Point(NamedTuple):
    """A place on paper."""

    x: float
    y: float


@dataclass(frozen=True)
class Box:
    """A rectangle around its centre."""

    centre: Point
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """An edge.

    Attributes
    ----------
    points : tuple of Point
        The start, then for every cubic Bézier curve its two control points and its end.
    on_bits : bool
        Whether a binary layer reads it as bits.
    """

    points: tuple[Point, ...]
    on_bits: bool


@dataclass(frozen=True)
class Drawing:
    """Boxes of the nodes, lines of the edges, and the size of the paper; (0, 0) is top left."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: float
    height: float


def draw(
    graph: Sequence[NodeInfo], layout: Layout, sizes: Sequence[tuple[float, float]]
) -> Drawing:
    """Draw a graph.

    Parameters
    ----------
    graph : sequence of NodeInfo
    layout : Layout
        Of that graph.
    sizes : sequence of (float, float)
        Width and height of each node's box.
    """
    return _Plan(graph, layout, sizes).draw()


@dataclass(frozen=True)
class _Row:
    column: int
    top: float
    bottom: float


@dataclass(frozen=True)
class _Stop:
    """Where an edge passes a row, begins or ends."""

    x: float
    top: float
    bottom: float
    column: int


class _Plan:
    def __init__(
        self, graph: Sequence[NodeInfo], layout: Layout, sizes: Sequence[tuple[float, float]]
    ):
        self._graph, self._layout, self._sizes = graph, layout, sizes
        self._rows = list(self._place_rows())
        self._x: dict[tuple[int, int], float] = {}
        self._right: list[float] = []
        self._place_lanes()
        self._tracks = [itertools.count() for _ in layout.columns]

    def draw(self) -> Drawing:
        boxes = tuple(self._box(index) for index in range(len(self._graph)))
        lines = tuple(self._lines(boxes))
        return Drawing(boxes, lines, self._right[-1], -min(row.bottom for row in self._rows))

    def _place_rows(self) -> Iterator[_Row]:
        heights = [0.0] * (max(self._layout.rows) + 1)
        for row, (_, height) in zip(self._layout.rows, self._sizes, strict=True):
            heights[row] = max(heights[row], height)
        for column, rows in enumerate(self._layout.columns):
            y = 0.0
            for row in rows:
                yield _Row(column, y, y - heights[row])
                y -= heights[row] + _ROW_GAP

    def _place_lanes(self) -> None:
        widths = self._lane_widths()
        x = 0.0
        for column in range(len(self._layout.columns)):
            for lane in sorted(lane for at, lane in widths if at == column):
                width = widths[column, lane]
                self._x[column, lane] = x + width / 2
                x += width + _LANE_GAP
            x -= _LANE_GAP
            self._right.append(x)
            x += _GUTTER + _TRACK * self._passing(column)

    def _lane_widths(self) -> dict[tuple[int, int], float]:
        widths: dict[tuple[int, int], float] = {}
        nodes = zip(self._layout.rows, self._layout.lanes, self._sizes, strict=True)
        used = [(row, lane, width) for row, lane, (width, _) in nodes]
        used += [(row, lane, _WIRE_WIDTH) for (_, row), lane in self._layout.wires.items()]
        for row, lane, width in used:
            key = self._rows[row].column, lane
            widths[key] = max(widths.get(key, 0.0), width)
        return widths

    def _passing(self, column: int) -> int:
        """Count the edges that leave a column for the next."""
        return edges_across(self._graph, self._layout.rows, self._layout.columns[column].stop)

    def _box(self, index: int) -> Box:
        row = self._rows[self._layout.rows[index]]
        x = self._x[row.column, self._layout.lanes[index]]
        return Box(Point(x, (row.top + row.bottom) / 2), *self._sizes[index])

    def _lines(self, boxes: Sequence[Box]) -> Iterator[Line]:
        for target, node in enumerate(self._graph):
            arrivals = [self._above(source, self._layout.rows[target]) for source in node.inputs]
            ports = sorted(range(len(arrivals)), key=arrivals.__getitem__)
            for port, slot in enumerate(ports):
                source = node.inputs[slot]
                on_bits = slot == 0 and node.kind.startswith(BITSERIAL)
                shift = _PORT * (port - (len(ports) - 1) / 2)
                # Bits and numbers from one box to another run side by side.
                out = shift if node.inputs.count(source) > 1 else 0.0
                stops = [
                    self._end(boxes[source], source, out),
                    *self._wire(source, self._layout.rows[target]),
                    self._end(boxes[target], target, shift),
                ]
                yield Line(tuple(self._path(stops)), on_bits)

    def _above(self, source: int, end: int) -> float:
        """Find where an edge stands in the row above its end."""
        lane = self._layout.wires.get((source, end - 1), self._layout.lanes[source])
        return self._x[self._rows[end - 1].column, lane]

    def _end(self, box: Box, index: int, shift: float) -> _Stop:
        centre, half = box.centre, box.height / 2
        column = self._rows[self._layout.rows[index]].column
        return _Stop(centre.x + shift, centre.y + half, centre.y - half, column)

    def _wire(self, source: int, end: int) -> Iterator[_Stop]:
        for row in range(self._layout.rows[source] + 1, end):
            place = self._rows[row]
            x = self._x[place.column, self._layout.wires[source, row]]
            yield _Stop(x, place.top, place.bottom, place.column)

    def _path(self, stops: Sequence[_Stop]) -> Iterator[Point]:
        yield Point(stops[0].x, stops[0].bottom)
        for before, after in itertools.pairwise(stops):
            start, end = Point(before.x, before.bottom), Point(after.x, after.top)
            if before.column == after.column:
                yield from _bend(start, end)
            else:
                yield from self._cross(start, end, before.column)
            if after is not stops[-1]:
                yield from _straight(end, Point(after.x, after.bottom))

    def _cross(self, start: Point, end: Point, column: int) -> Iterator[Point]:
        """Go below the column, up its gutter and over to the top of the next column."""
        track = _TRACK * next(self._tracks[column])
        bottom = min(row.bottom for row in self._rows if row.column == column)
        gutter = self._right[column] + _GUTTER / 3 + track
        low, high = bottom - _ROW_GAP / 3 - track, _ROW_GAP / 3 + track
        corners = [
            start,
            Point(start.x, low),
            Point(gutter, low),
            Point(gutter, high),
            Point(end.x, high),
            end,
        ]
        for here, there in itertools.pairwise(corners):
            yield from _straight(here, there)


def _bend(start: Point, end: Point) -> tuple[Point, Point, Point]:
    """Leave and arrive vertically."""
    middle = (start.y + end.y) / 2
    return Point(start.x, middle), Point(end.x, middle), end


def _straight(start: Point, end: Point) -> tuple[Point, Point, Point]:
    """Keep the control points apart from the ends: an arrow's head points along them."""
    x, y = (end.x - start.x) / 3, (end.y - start.y) / 3
    return Point(start.x + x, start.y + y), Point(end.x - x, end.y - y), end
