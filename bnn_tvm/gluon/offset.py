"""The offset form of a binary layer: its output as a popcount.

With operands of -1 and +1 a dot product over n terms is ``2 p - n``, where p counts the equal
pairs. Binary layers return ``p = (dot + n) / 2``. The number n comes from the weight's shape alone,
whether or not a forward pass has been made.
"""

from __future__ import annotations

from math import prod
from typing import Any

from mxnet.gluon import HybridBlock, Parameter

from .functions import Tensor, operators_of


def dot_to_popcount(dot: Tensor, weight: Tensor, parameter: Parameter) -> Tensor:
    """Return ``(dot + n) / 2`` with ``n = prod(weight.shape[1:])``.

    Parameters
    ----------
    dot : NDArray or Symbol
        Output of a convolution or of a dense layer.
    weight : NDArray or Symbol
        The layer's weight, (outputs, ...).
    parameter : Parameter
        The Gluon parameter of that weight; its shape may still be unknown in a symbol trace.
    """
    if has_known_shape(parameter):
        return (dot + prod(parameter.shape[1:])) / 2
    ops = operators_of(dot)
    size = ops.cast(ops.size_array(weight), dtype=parameter.dtype)
    return ops.broadcast_add(dot, size / parameter.shape[0]) / 2


def has_known_shape(parameter: Parameter) -> bool:
    """Return whether no dimension of the parameter waits for the first input."""
    return parameter.shape is not None and all(size > 0 for size in parameter.shape)


class OffsetLayer(HybridBlock):
    """Base of the layers whose graph holds n as a number; comes before the stock layer."""

    weight: Parameter


def _waits_for_shapes(block: HybridBlock) -> bool:
    if isinstance(block, OffsetLayer) and not has_known_shape(block.weight):
        return True
    return any(_waits_for_shapes(child) for child in block._children.values())


def trace_with_known_shapes() -> None:
    """Let a hybridized block that holds offset layers learn its shapes before it is traced.

    Stock MXNet traces a block first and infers the shapes that it lacks from that trace, so n would
    be in the graph as an expression of the weight's size: right, but not the plain number that
    tools look for in exported files. Blocks without offset layers are not touched. Calling this
    again has no effect.
    """
    if getattr(HybridBlock._build_cache, "infers_offsets", False):
        return
    build_cache = HybridBlock._build_cache

    def infer_then_build(block: HybridBlock, *args: Any) -> None:
        if _waits_for_shapes(block):
            block._deferred_infer_shape(*args)
            block._clear_cached_op()
        build_cache(block, *args)

    infer_then_build.infers_offsets = True  # type: ignore[attr-defined]
    HybridBlock._build_cache = infer_then_build
