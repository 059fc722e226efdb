"""Windows of convolutions and poolings, as their operators describe them."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax
from tvm.ir import Expr

from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.pooled_rows import rows_beyond

from .dataflow import op_name, shape_of

MAX_POOLS = ("nn.max_pool1d", "nn.max_pool2d", "nn.max_pool3d")
"""Operators that give the largest value of each window."""


def conv_window(call: relax.Call, pad: relax.Call | None) -> Window:
    """Describe the window of a convolution, with the padding before it if there is one."""
    padding = _integers(call.attrs.padding)
    if pad is not None:
        widths = _integers(pad.attrs.pad_width)[2:-2]
        padding = (*widths[0::2], *widths[1::2])
    kernel = shape_of(call.args[1])[1:-1]
    return Window(kernel, _integers(call.attrs.strides), _integers(call.attrs.dilation), padding)


def border_value(pad: relax.Call | None) -> float:
    """Read what a convolution is padded with; 0 if by the convolution itself."""
    return 0.0 if pad is None else float(pad.attrs.pad_value)


def pool_window(call: relax.Call) -> Window:
    """Describe the window of a pooling."""
    attrs = call.attrs
    sizes = (attrs.pool_size, attrs.strides, attrs.dilation, attrs.padding)
    return Window(*(_integers(values) for values in sizes))


def pooled_rows_beyond(bindings: Iterable[relax.VarBinding], conv: relax.Var) -> tuple[int, int]:
    """Count the rows above and below a convolution that a pooling among operations reads."""
    for binding in bindings:
        if op_name(binding.value) in MAX_POOLS:
            positions = shape_of(binding.var)[1:-1]
            return rows_beyond(pool_window(binding.value), positions, shape_of(conv)[1])
    return 0, 0


def _integers(values: Iterable[Expr]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
