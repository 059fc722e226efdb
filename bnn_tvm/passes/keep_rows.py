"""Which operators compute row i of their result, along axis 0, from row i of their operands alone.

A row is an image of a batch. What is not proven here counts as mixing images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import relax

from .dataflow import arguments, is_tensor, op_name, shape_of
from .evaluate import is_elementwise

IsBatched = Callable[[relax.Expr], bool]


@dataclass(frozen=True)
class _Call:
    """A call and which of its tensors have rows; the others are the same for all of them."""

    call: relax.Call
    is_batched: IsBatched

    @property
    def data(self) -> relax.Expr:
        return self.call.args[0]

    @property
    def only_data_is_batched(self) -> bool:
        return [self.is_batched(arg) for arg in self.tensors] == [True] + [False] * (
            len(self.tensors) - 1
        )

    @property
    def tensors(self) -> list[relax.Expr]:
        return [arg for arg in arguments(self.call) if is_tensor(arg)]

    def skips(self, axis: int) -> bool:
        """Tell whether an axis of the data, counted from either end, is not that of rows."""
        return int(axis) % len(shape_of(self.data)) != 0


def keeps_rows(call: relax.Call, is_batched: IsBatched) -> bool:
    """Tell whether an operator keeps rows apart.

    Parameters
    ----------
    call : relax.Call
        Of one of TVM's operators.
    is_batched : callable
        Tells of an operand whether its axis 0 counts rows, of which there are several.
    """
    described = _Call(call, is_batched)
    proof = _elementwise if is_elementwise(call) else _PROOFS.get(op_name(call))
    return proof is not None and any(map(is_batched, described.tensors)) and proof(described)


def _elementwise(call: _Call) -> bool:
    """Rows meet rows if ranks are equal, and else what is the same for every row."""
    rank = len(shape_of(call.call))
    return all(_broadcasts(arg, rank, call.is_batched(arg)) for arg in call.tensors)


def _broadcasts(operand: relax.Expr, rank: int, is_batched: bool) -> bool:
    shape = shape_of(operand)
    return len(shape) == rank if is_batched else len(shape) < rank or shape[0] == 1


def _convolution(call: _Call) -> bool:
    attrs = call.call.attrs
    layouts = (attrs.data_layout, attrs.out_layout or attrs.data_layout)
    return call.only_data_is_batched and all(str(layout)[0] == "N" for layout in layouts)


def _pooling(call: _Call) -> bool:
    attrs = call.call.attrs
    return all(str(layout)[0] == "N" for layout in (attrs.layout, attrs.out_layout or attrs.layout))


def _matmul(call: _Call) -> bool:
    data, weight = call.call.args
    return call.only_data_is_batched and len(shape_of(data)) >= 2 == len(shape_of(weight))


def _pad(call: _Call) -> bool:
    return not any(int(width) for width in call.call.attrs.pad_width[:2])


def _permute(call: _Call) -> bool:
    axes = call.call.attrs.axes
    return axes is not None and not call.skips(axes[0])


def _reshape(call: _Call) -> bool:
    """As many rows before and after are the same rows: elements keep their order."""
    return shape_of(call.call)[0] == shape_of(call.data)[0]


def _along_named_axes(call: _Call) -> bool:
    axes = call.call.attrs.axis
    return axes is not None and all(call.skips(axis) for axis in axes)


def _along_axis(call: _Call) -> bool:
    return call.skips(call.call.attrs.axis)


def _expand(call: _Call) -> bool:
    rank = len(shape_of(call.call))
    return all(int(axis) % rank for axis in call.call.attrs.axis)


def _concat(call: _Call) -> bool:
    fields = call.tensors
    return int(call.call.attrs.axis) % len(shape_of(fields[0])) != 0 and all(
        map(call.is_batched, fields)
    )


def _slice(call: _Call) -> bool:
    return all(call.skips(axis.value) for axis in call.call.args[1].fields)


_PROOFS: dict[str, Callable[[_Call], bool]] = {
    **dict.fromkeys(("square", "rsqrt", "nn.leakyrelu", "nn.softplus"), _elementwise),
    **dict.fromkeys((f"nn.conv{rank}d" for rank in (1, 2, 3)), _convolution),
    **dict.fromkeys(
        (f"nn.{kind}_pool{r}d" for kind in ("max", "avg") for r in (1, 2, 3)), _pooling
    ),
    **dict.fromkeys(("mean", "sum", "max", "min", "squeeze"), _along_named_axes),
    **dict.fromkeys(("nn.softmax", "nn.log_softmax"), _along_axis),
    "matmul": _matmul,
    "nn.pad": _pad,
    "permute_dims": _permute,
    "reshape": _reshape,
    "expand_dims": _expand,
    "concat": _concat,
    "strided_slice": _slice,
}
