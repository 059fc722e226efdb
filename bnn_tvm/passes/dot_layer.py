"""Build the sums of a layer that multiplies bytes or short floats in groups."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax, te

from bnn_tvm.kernels.border import Element
from bnn_tvm.kernels.dot import DotType, dot_conv, dot_dense, dot_planes

from .dataflow import constant_of, op_name, shape_of
from .dot_weights import block_conv_weight, block_dense_weight, block_plane_weight, stored_border
from .layer_weights import Blocking
from .windows import conv_window


def sum_dots(
    form: DotType,
    call: relax.Call,
    pad: relax.Call | None,
    pad_value: float,
    data: Element,
    blocking: Blocking,
    add_weight: Callable[[np.ndarray], te.Tensor],
) -> te.Tensor:
    """Sum the products of a layer.

    Parameters
    ----------
    form : DotType
    call : relax.Call
    pad : relax.Call or None
        The padding before it, if there is one.
    pad_value : float
        What that holds.
    data : callable
        What the layer reads, before the padding; an image in planes unless it is a tensor.
    blocking : Blocking
    add_weight : callable
        Makes weights, as they are stored, an operand.

    Returns
    -------
    te.Tensor
        (..., output blocks, lanes).
    """
    source = call.args[0] if pad is None else pad.args[0]
    weight = constant_of(call.args[1])
    if op_name(call) == "matmul":
        return dot_dense(data, add_weight(block_dense_weight(weight.T, blocking, form)), form)
    window, border = conv_window(call, pad), stored_border(pad_value, form)
    if not isinstance(data, te.Tensor):
        operand = add_weight(block_plane_weight(weight, window, blocking, form))
        return dot_planes(data, shape_of(source), operand, window, border, form)
    blocked, plan = block_conv_weight(weight, window, int(call.attrs.groups), blocking, form)
    return dot_conv(data, add_weight(blocked), window, border, plan, form)
