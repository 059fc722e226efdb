"""Reads MXNet symbol JSON without MXNet: every node format from 0.9 to 1.9 and BMXNet's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelError
from .graph import Edge, Graph, Node

ATTRIBUTE_KEYS = ("param", "attr", "attrs")
"""Where versions of MXNet put a node's attributes; old files have two of them on one node."""

PARAMETER_PREFIXES = ("arg:", "aux:")

_HINT = "export the model again with HybridBlock.export"


def graph_from_text(json_text: str, params: Mapping[str, np.ndarray]) -> Graph:
    """Read a symbol and join it with its parameters.

    Parameters
    ----------
    json_text : what ``Symbol.tojson()`` writes
    params : name to array; the names may carry ``arg:`` or ``aux:``

    Raises
    ------
    ModelError
        The text is no symbol, or two parameters have one name.
    """
    document = _parse_object(json_text)
    entries = _typed(document.get("nodes"), list, "the symbol's 'nodes'")
    nodes = tuple(_read_node(entry, index) for index, entry in enumerate(entries))
    heads = _read_edges(document.get("heads"), len(nodes), "the symbol's 'heads'")
    if not heads:
        raise ModelError(f"the symbol has no output ('heads' is empty); {_HINT}")
    return Graph(nodes, heads, _strip_prefixes(params))


def _parse_object(json_text: str) -> dict[str, Any]:
    try:
        document = json.loads(json_text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the symbol is not valid JSON ({error}); {_HINT}") from error
    return _typed(document, dict, "the symbol")


def _typed(value: Any, kind: type, noun: str) -> Any:
    if type(value) is not kind:
        raise ModelError(f"{noun} must be a JSON {kind.__name__}, not {value!r:.60}; {_HINT}")
    return value


def _read_node(entry: Any, index: int) -> Node:
    noun = f"node {index} of the symbol"
    fields = _typed(entry, dict, noun)
    op = _typed(fields.get("op"), str, f"{noun}: 'op'")
    name = _typed(fields.get("name"), str, f"{noun}: 'name'")
    inputs = _read_edges(fields.get("inputs"), index, f"node {name!r}: 'inputs'")
    return Node(name, op, _read_attributes(fields, name), inputs)


def _read_attributes(fields: Mapping[str, Any], name: str) -> dict[str, str]:
    merged: dict[str, str] = {}
    for key in ATTRIBUTE_KEYS:
        attributes = _typed(fields.get(key, {}), dict, f"node {name!r}: {key!r}")
        for attribute, value in attributes.items():
            merged[attribute] = _attribute_text(value, f"node {name!r}: attribute {attribute!r}")
    return merged


def _attribute_text(value: Any, noun: str) -> str:
    if isinstance(value, dict):
        raise ModelError(f"{noun} must be a string, number or list, not {value!r:.60}; {_HINT}")
    return value if isinstance(value, str) else str(value)


def _read_edges(value: Any, limit: int, noun: str) -> tuple[Edge, ...]:
    return tuple(_read_edge(item, limit, noun) for item in _typed(value, list, noun))


def _read_edge(item: Any, limit: int, noun: str) -> Edge:
    """Read ``[node, output]`` or ``[node, output, version]``; nodes come before their users."""
    numbers = _typed(item, list, f"{noun}: an entry")
    if len(numbers) not in (2, 3) or any(type(n) is not int or n < 0 for n in numbers):
        raise ModelError(f"{noun}: {numbers!r:.60} is no [node, output, version]; {_HINT}")
    if numbers[0] >= limit:
        raise ModelError(
            f"{noun}: node {numbers[0]} is not among the {limit} before it "
            f"(a cycle or a damaged file); {_HINT}"
        )
    return Edge(numbers[0], numbers[1])


def _strip_prefixes(params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    stripped: dict[str, np.ndarray] = {}
    for full_name, array in params.items():
        name = full_name
        for prefix in PARAMETER_PREFIXES:
            name = name.removeprefix(prefix) if full_name.startswith(prefix) else name
        if name in stripped:
            raise ModelError(f"parameter {name!r} occurs twice, as arg: and aux:; {_HINT}")
        stripped[name] = array
    return stripped
