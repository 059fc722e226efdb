"""Read what is given as a model, and the shapes of its inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InputError, ModelError
from .importer import Graph, graph_from_text, load_graph

Shape = tuple[int, ...]


def read_model(
    model: Any,
    params: str | os.PathLike[str] | None,
    input_shape: Shape | Mapping[str, Shape] | None,
) -> tuple[str, Graph]:
    """Name and read a model in any of the forms that `compile` takes."""
    if isinstance(model, Graph):
        return "model", model
    if isinstance(model, str | os.PathLike):
        path = Path(model)
        name = path.name.removesuffix(".json").removesuffix("-symbol")
        return name, load_graph(path, None if params is None else Path(params))
    if not hasattr(model, "hybridize"):
        raise ModelError(
            f"cannot compile a {type(model).__name__}; give the path of a *-symbol.json file "
            "or a HybridBlock"
        )
    from .gluon import to_symbol

    by_name = input_shape.values() if isinstance(input_shape, Mapping) else [input_shape]
    return model.name, graph_from_text(*to_symbol(model, *by_name))


def input_shapes(graph: Graph, input_shape: Shape | Mapping[str, Shape] | None) -> dict[str, Shape]:
    """Give every input of a graph its shape."""
    if isinstance(input_shape, Mapping):
        return {name: tuple(shape) for name, shape in input_shape.items()}
    names = graph.data_inputs
    if input_shape is None or len(names) != 1:
        example = ",".join(
            f"{name}=1,3,224,224" if len(names) > 1 else "1,3,224,224" for name in names
        )
        raise InputError(
            f"the shape of each input ({', '.join(names)}) must be given, "
            f"batch included, such as --input-shape {example}"
        )
    return {names[0]: tuple(input_shape)}
