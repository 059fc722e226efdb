"""Which layers of ``main`` run in float, and can therefore run in fewer bits by choice."""

from __future__ import annotations

from collections.abc import Callable

from tvm import relax
from tvm.ir import IRModule

from .binary import CONVOLUTIONS, reason_not_binary
from .dataflow import constant_of, dtype_of, main_bindings, op_name, shape_of
from .regions import CHANNELS_LAST
from .sign import Lookup


def is_float_layer(call: relax.Expr, lookup: Lookup) -> bool:
    """Tell whether a call is a layer that becomes a float32 kernel of ours.

    Expects channels-last data and weights.
    """
    name = op_name(call)
    if (name not in CONVOLUTIONS and name != "matmul") or constant_of(call.args[1]) is None:
        return False
    is_float = all(dtype_of(arg) == "float32" for arg in call.args)
    fits = (
        len(shape_of(call.args[0])) == 2
        if name == "matmul"
        else call.attrs.data_layout in CHANNELS_LAST
    )
    return is_float and fits and bool(reason_not_binary(call, lookup))


def float_layers(mod: IRModule) -> list[relax.VarBinding]:
    """List the layers that become float32 kernels, in order of execution."""
    bindings = main_bindings(mod)
    lookup = {binding.var: binding.value for binding in bindings}.get
    return [binding for binding in bindings if is_float_layer(binding.value, lookup)]


_CONVOLVE: dict[str, Callable[..., relax.Expr]] = {
    "nn.conv1d": relax.op.nn.conv1d,
    "nn.conv2d": relax.op.nn.conv2d,
    "nn.conv3d": relax.op.nn.conv3d,
}


def change_operands(
    call: relax.Call, data: relax.Expr, weight: relax.Expr, sum_dtype: str, padded: bool
) -> relax.Expr:
    """Make a layer like another, of other operands.

    Parameters
    ----------
    call : relax.Call
        The other layer.
    data, weight : relax.Expr
        Of any dtypes.
    sum_dtype : str
        What products are summed in.
    padded : bool
        Whether the data has the border that the other layer adds by itself.
    """
    if op_name(call) == "matmul":
        return relax.op.matmul(data, weight, out_dtype=sum_dtype)
    attrs = call.attrs
    return _CONVOLVE[op_name(call)](
        data,
        weight,
        strides=attrs.strides,
        padding=[0] * len(attrs.padding) if padded else attrs.padding,
        dilation=attrs.dilation,
        groups=attrs.groups,
        data_layout=attrs.data_layout,
        kernel_layout=attrs.kernel_layout,
        out_layout=attrs.out_layout,
        out_dtype=sum_dtype,
    )
