"""Converters from MXNet operators to Relax, one small function an operator.

Importing the package fills :data:`REGISTRY`.
"""

from bnn_tvm.importer.converters import (
    binary,
    convolution,
    dense,
    elementwise,
    normalisation,
    pooling,
    shapes,
)
from bnn_tvm.importer.converters.registry import REGISTRY, Context, Converter, Emitter, Value

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
