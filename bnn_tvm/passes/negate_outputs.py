"""Turn the signs of some outputs of a layer around."""

from __future__ import annotations

import numpy as np
from tvm import relax

from .binary import CONVOLUTIONS
from .dataflow import constant_of, op_name


def negate_outputs(layer: relax.Call, negated: np.ndarray) -> relax.Call:
    """Negate the weights of some output channels of a layer, and so those outputs, exactly.

    Parameters
    ----------
    layer : relax.Call
        A convolution with channels-last weights, or a product, with constant weights.
    negated : numpy.ndarray
        (outputs,) bool.
    """
    weight = constant_of(layer.args[1])
    signs = np.where(negated, -1, 1).astype(weight.dtype)
    is_conv = op_name(layer) in CONVOLUTIONS
    spread = signs.reshape(-1, *[1] * (weight.ndim - 1)) if is_conv else signs
    return relax.Call(layer.op, [layer.args[0], relax.const(weight * spread)], layer.attrs)
