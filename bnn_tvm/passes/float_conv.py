"""Float convolutions for processors: the plain form, and that of fewer multiplications."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tvm import relax, te

from bnn_tvm.kernels.border import Element
from bnn_tvm.kernels.floating import conv, gathered_conv
from bnn_tvm.kernels.geometry import Extents, Window
from bnn_tvm.kernels.stages import WEIGHT
from bnn_tvm.kernels.winograd import Filtering, winograd_conv
from bnn_tvm.target import Target

from .binary import padding_before
from .dataflow import op_name, shape_of
from .evaluate import is_elementwise
from .layer_weights import Blocking, block_float_weight
from .sign import Lookup
from .windows import conv_window


def find_filtering(target: Target, window: Window, shape: Extents, groups: int) -> Filtering | None:
    """Say how the rows of an image of (N, *extents, C) are filtered; None if that is no gain."""
    filtering = Filtering(window, shape[-1])
    fits = target.filters_rows and groups == 1 and filtering.is_worthwhile(shape[1:-1])
    return filtering if fits else None


def is_filtered(conv: relax.Call, target: Target, lookup: Lookup) -> bool:
    """Tell whether a convolution is of an image whose rows are filtered, before regions are made.

    An image is channels-first, as the model reads it, but for what is computed element by element.
    """
    pad = padding_before(conv, lookup)
    padded = conv.args[0] if pad is None else pad.args[0]
    made = lookup(padded)
    while is_elementwise(made):
        made = lookup(made.args[0])
    if op_name(made) != "permute_dims":
        return False
    groups = int(conv.attrs.groups)
    return find_filtering(target, conv_window(conv, pad), shape_of(padded), groups) is not None


@dataclass(frozen=True)
class FloatConv:
    """Makes convolutions, with their operands.

    Attributes
    ----------
    target : Target
    blocking : Blocking
    constant : callable
        Makes an operand of an array, with a name.
    """

    target: Target
    blocking: Blocking
    constant: Callable[..., te.Tensor]

    def convolve(
        self,
        data: Element,
        shape: Extents,
        weight: np.ndarray,
        groups: int,
        window: Window,
        pad_value: float,
    ) -> te.Tensor:
        """Convolve a tensor, or an image that is computed element by element.

        Parameters
        ----------
        data : te.Tensor or callable
            Gives the float32 at an index (N, *extents, C).
        shape : tuple of int
            (N, *extents, C).
        weight : numpy.ndarray
            (outputs, *kernel, inputs of a group) float32.
        groups : int
        window : Window
        pad_value : float
            What the padding holds.

        Returns
        -------
        te.Tensor
            (N, *positions, output blocks, lanes) float32.
        """
        is_image = not isinstance(data, te.Tensor)
        filtering = find_filtering(self.target, window, shape, groups) if is_image else None
        if filtering is not None:
            return self._filter(data, shape, weight, filtering, pad_value)
        blocked, plan = block_float_weight(weight, groups, self.blocking)
        by_planes = is_image and self.target.sums_by_planes
        filters = self.constant(np.moveaxis(blocked, -2, 1) if by_planes else blocked, WEIGHT)
        if is_image:
            return gathered_conv(data, shape, filters, window, pad_value, plan, by_planes)
        return conv(data, filters, window, pad_value, plan)

    def _filter(
        self,
        data: Element,
        shape: Extents,
        weight: np.ndarray,
        filtering: Filtering,
        pad_value: float,
    ) -> te.Tensor:
        blocked = self.blocking.block(filtering.transform_weight(weight))
        filters = self.constant(blocked, WEIGHT)
        return winograd_conv(data, shape, filters, filtering, pad_value)
