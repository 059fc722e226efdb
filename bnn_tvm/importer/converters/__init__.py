"""Converters from MXNet operators to Relax, one small function an operator.

Importing the package fills :data:`REGISTRY`.
"""

from . import (
    binary,
    convolution,
    dense,
    elementwise,
    normalisation,
    pooling,
    shapes,
)
from .registry import REGISTRY, Context, Converter, Emitter, Value

__all__ = [
    "REGISTRY",
    "Context",
    "Converter",
    "Emitter",
    "Value",
    "binary",
    "convolution",
    "dense",
    "elementwise",
    "normalisation",
    "pooling",
    "shapes",
]
