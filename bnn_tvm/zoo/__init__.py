"""Networks to train and compile, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mxnet.gluon import HybridBlock

from ..errors import ModelError
from .lenet import lenet

_MODELS: dict[str, Callable[..., HybridBlock]] = {"lenet": lenet}


def get_model(name: str, **options: Any) -> HybridBlock:
    """Build a network by its name.

    Parameters
    ----------
    name : str
        One of: ``lenet``.
    **options
        Options of the network's builder, such as ``bits``.

    Raises
    ------
    ModelError
        No network has that name.
    """
    if name not in _MODELS:
        raise ModelError(f"Network '{name}' is unknown. Choose one of: {', '.join(_MODELS)}.")
    return _MODELS[name](**options)
