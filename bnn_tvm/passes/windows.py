"""Windows of convolutions and poolings, as their operators describe them."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax
from tvm.ir import Expr

from bnn_tvm.kernels.geometry import Window

from .dataflow import shape_of


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


def _integers(values: Iterable[Expr]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
