"""Pass: from the model's NCHW to channels-last inside, with layout changes at the border only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .dataflow import (
    Emitter,
    arguments,
    constant_of,
    is_tensor,
    main_bindings,
    main_result,
    op_name,
    rebuild_main,
    shape_of,
    visit_bindings,
)
from .evaluate import is_elementwise

# By the number of axes; the model's letters are those with the channels moved to the front.
_LAYOUTS = {3: "NWC", 4: "NHWC", 5: "NDHWC"}

_CONVOLUTIONS: dict[str, Callable[..., relax.Call]] = {
    "nn.conv1d": relax.op.nn.conv1d,
    "nn.conv2d": relax.op.nn.conv2d,
    "nn.conv3d": relax.op.nn.conv3d,
}
_POOLS: dict[str, Callable[..., relax.Call]] = {
    "nn.max_pool1d": relax.op.nn.max_pool1d,
    "nn.max_pool2d": relax.op.nn.max_pool2d,
    "nn.max_pool3d": relax.op.nn.max_pool3d,
    "nn.avg_pool1d": relax.op.nn.avg_pool1d,
    "nn.avg_pool2d": relax.op.nn.avg_pool2d,
    "nn.avg_pool3d": relax.op.nn.avg_pool3d,
}


def _to_last(rank: int) -> tuple[int, ...]:
    """Permute axes so that the channels go from the second place to the last."""
    return (0, *range(2, rank), 1)


def _to_second(rank: int) -> tuple[int, ...]:
    """Permute axes so that the channels go from the last place to the second."""
    return (0, rank - 1, *range(1, rank - 1))


def _moved_axis(axis: int, rank: int) -> int:
    """Say where an axis of the model lies in channels-last data."""
    return _to_second(rank)[axis % rank]


def _letters(rank: int) -> tuple[str, str]:
    """Name the layouts of channels-last data and weights."""
    data = _LAYOUTS[rank]
    return data, f"O{data[1:-1]}I"


class _LayoutRewriter:
    """Visits the bindings in order and knows which new variables hold channels-last data.

    Attributes
    ----------
    moved : set of relax.Var
        New variables of three to five axes that lie channels-last.
    flattened : dict of relax.Var to tuple of int
        Matrices (N, H*W*C) that the model has as (N, C*H*W), with their (C, H, W).
    """

    def __init__(self, mod: IRModule):
        self.moved: set[relax.Expr] = set()
        self.flattened: dict[relax.Expr, tuple[int, ...]] = {}
        self._only_feeds_matmul = _vars_that_only_feed_matmul(mod)
        self._handlers: dict[str, Callable[..., relax.Var | None]] = {
            **dict.fromkeys(_CONVOLUTIONS, self._conv),
            "nn.pad": self._pad,
            "concat": self._concat,
            "strided_slice": self._strided_slice,
            "reshape": self._reshape,
            "matmul": self._matmul,
            **dict.fromkeys(_POOLS, self._pool),
            **dict.fromkeys(("mean", "max", "sum"), self._reduction),
        }

    def visit(self, emitter: Emitter, binding: relax.VarBinding) -> relax.Expr:
        """Rewrite one binding; what no handler takes is computed in the model's own layout."""
        call = emitter.remap(binding.value)
        name = binding.var.name
        if not isinstance(call, relax.Call):
            return emitter.emit(call, name)
        handler = self._handlers.get(op_name(call))
        if handler is None and is_elementwise(call):
            handler = self._elementwise
        new = handler(emitter, call, name, binding.var) if handler else None
        return new if new is not None else emitter.emit(self._in_model_layout(emitter, call), name)

    def to_last(self, emitter: Emitter, x: relax.Expr) -> relax.Expr:
        """Return x channels-last, moving its axes if it is not."""
        if x in self.moved:
            return x
        shape = shape_of(x)
        axes = _to_last(len(shape))
        is_free = shape[1] == 1 or all(extent == 1 for extent in shape[2:])
        moved = tuple(shape[axis] for axis in axes)
        call = relax.op.reshape(x, moved) if is_free else relax.op.permute_dims(x, axes)
        return self._mark(emitter.emit(call, f"{_name(x)}_nhwc"))

    def to_model(self, emitter: Emitter, x: relax.Expr) -> relax.Expr:
        """Return x in the model's layout, moving its axes if they are not there."""
        if x in self.moved:
            axes = _to_second(len(shape_of(x)))
            return emitter.emit(relax.op.permute_dims(x, axes), f"{_name(x)}_nchw")
        if x in self.flattened:
            channels, *extents = self.flattened[x]
            spatial = relax.op.reshape(x, (shape_of(x)[0], *extents, channels))
            axes = _to_second(len(extents) + 2)
            first = relax.op.permute_dims(emitter.emit(spatial, f"{_name(x)}_nhwc"), axes)
            flat = relax.op.reshape(emitter.emit(first, f"{_name(x)}_nchw"), shape_of(x))
            return emitter.emit(flat, _name(x))
        return x

    def _mark(self, var: relax.Var) -> relax.Var:
        self.moved.add(var)
        return var

    def _in_model_layout(self, emitter: Emitter, call: relax.Call) -> relax.Call:
        args = [
            relax.Tuple([self.to_model(emitter, field) for field in arg.fields])
            if isinstance(arg, relax.Tuple)
            else self.to_model(emitter, arg)
            for arg in call.args
        ]
        return relax.Call(call.op, args, call.attrs, call.ty_args)

    def _conv(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        weight, attrs = constant_of(call.args[1]), call.attrs
        if weight is None or attrs.data_layout in _LAYOUTS.values():
            return None
        data_layout, kernel_layout = _letters(weight.ndim)
        conv = _CONVOLUTIONS[op_name(call)](
            self.to_last(emitter, call.args[0]),
            relax.const(np.ascontiguousarray(weight.transpose(_to_last(weight.ndim)))),
            strides=list(attrs.strides),
            padding=list(attrs.padding),
            dilation=list(attrs.dilation),
            groups=int(attrs.groups),
            data_layout=data_layout,
            kernel_layout=kernel_layout,
        )
        return self._mark(emitter.emit(conv, name))

    def _pool(self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var) -> relax.Var:
        attrs = call.attrs
        x = self.to_last(emitter, call.args[0])
        pool = _POOLS[op_name(call)](
            x,
            pool_size=list(attrs.pool_size),
            strides=list(attrs.strides),
            padding=list(attrs.padding),
            dilation=list(attrs.dilation),
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=bool(attrs.count_include_pad),
            layout=_LAYOUTS[len(shape_of(x))],
        )
        return self._mark(emitter.emit(pool, name))

    def _pad(self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var) -> relax.Var | None:
        widths = [int(width) for width in call.attrs.pad_width]
        rank = len(widths) // 2
        if rank not in _LAYOUTS:
            return None
        moved = [widths[2 * axis + end] for axis in _to_last(rank) for end in (0, 1)]
        x = self.to_last(emitter, call.args[0])
        pad = relax.op.nn.pad(x, moved, pad_value=float(call.attrs.pad_value))
        return self._mark(emitter.emit(pad, name))

    def _concat(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        fields = arguments(call)
        rank = len(shape_of(fields[0]))
        if rank not in _LAYOUTS:
            return None
        moved = [self.to_last(emitter, field) for field in fields]
        axis = _moved_axis(int(call.attrs.axis), rank)
        return self._mark(emitter.emit(relax.op.concat(moved, axis), name))

    def _strided_slice(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        x, axes, *bounds = call.args
        rank = len(shape_of(x))
        if rank not in _LAYOUTS:
            return None
        moved = [_moved_axis(int(axis.value), rank) for axis in axes.fields]
        begin, end, *strides = ([int(b.value) for b in bound.fields] for bound in bounds)
        sliced = relax.op.strided_slice(self.to_last(emitter, x), moved, begin, end, *strides)
        return self._mark(emitter.emit(sliced, name))

    def _reduction(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        x, attrs = call.args[0], call.attrs
        rank = len(shape_of(x))
        every, inner = list(range(rank)), list(range(2, rank))
        axes = every if attrs.axis is None else sorted(int(axis) % rank for axis in attrs.axis)
        keeps_order = bool(attrs.keepdims) or axes in (every, inner)
        if x not in self.moved or not keeps_order:
            return None
        reduce = getattr(relax.op, op_name(call))
        moved = [_moved_axis(axis, rank) for axis in axes]
        var = emitter.emit(reduce(x, moved, bool(attrs.keepdims)), name)
        return self._mark(var) if attrs.keepdims else var

    def _reshape(
        self, emitter: Emitter, call: relax.Call, name: str, old: relax.Var
    ) -> relax.Var | None:
        x, shape = call.args[0], shape_of(old)
        if x not in self.moved:
            return None
        batch, *extents, channels = shape_of(x)
        places = math.prod(extents)
        flattens = shape == (batch, places * channels)
        if not flattens or not (old in self._only_feeds_matmul or places == 1):
            return None
        var = emitter.emit(relax.op.reshape(x, shape), name)
        if places > 1:
            self.flattened[var] = (channels, *extents)
        return var

    def _matmul(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        x, weight = call.args[0], constant_of(call.args[1])
        if x not in self.flattened or weight is None:
            return None
        spatial = weight.reshape(*self.flattened[x], -1)
        rows = np.moveaxis(spatial, 0, -2).reshape(weight.shape)
        moved = relax.const(np.ascontiguousarray(rows))
        return emitter.emit(relax.op.matmul(x, moved), name)

    def _elementwise(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        if not any(arg in self.moved for arg in call.args) or not _broadcasts_alike(call):
            return None
        rank = max(len(shape_of(arg)) for arg in call.args if arg in self.moved)
        args = [self._like_moved(emitter, arg, rank) for arg in call.args]
        return self._mark(emitter.emit(relax.Call(call.op, args, call.attrs, call.ty_args), name))

    def _like_moved(self, emitter: Emitter, arg: relax.Expr, rank: int) -> relax.Expr:
        """Bring an operand that broadcasts against channels-last data into that layout."""
        array = constant_of(arg)
        if array is not None:
            spread = array.reshape((1,) * (rank - array.ndim) + array.shape)
            moved = np.ascontiguousarray(spread.transpose(_to_last(rank)))
            return arg if array.ndim == 0 else relax.const(moved, str(array.dtype))
        is_image = is_tensor(arg) and len(shape_of(arg)) == rank
        return self.to_last(emitter, arg) if is_image else arg


def _broadcasts_alike(call: relax.Call) -> bool:
    """Tell whether every operand can be moved: data of one rank, numbers and constants."""
    operands = [arg for arg in call.args if is_tensor(arg)]
    most = max(len(shape_of(arg)) for arg in operands)
    return all(
        constant_of(arg) is not None or len(shape_of(arg)) == most or math.prod(shape_of(arg)) == 1
        for arg in operands
    )


def _name(expr: relax.Expr) -> str:
    return expr.name if isinstance(expr, relax.Var) else "constant"


def _vars_that_only_feed_matmul(mod: IRModule) -> set[relax.Var]:
    """Find the variables whose every use is the data of a matmul with constant weights."""
    feeds: dict[relax.Var, bool] = {v: False for v in main_result(mod) if isinstance(v, relax.Var)}
    for binding in main_bindings(mod):
        call = binding.value
        operands = arguments(call) if isinstance(call, relax.Call) else []
        for position, operand in enumerate(operands):
            fits = op_name(call) == "matmul" and position == 0
            fits = fits and constant_of(operands[1]) is not None
            if isinstance(operand, relax.Var):
                feeds[operand] = fits and feeds.get(operand, True)
    return {var for var, fits in feeds.items() if fits}


def convert_layout(mod: IRModule) -> IRModule:
    """Compute images, signals and volumes channels-last and permute weights to match.

    Inputs and outputs of ``main`` keep the model's layout. A flatten that feeds a dense layer
    keeps the order of the data and permutes the rows of the layer's weights instead.
    """
    rewriter = _LayoutRewriter(mod)
    return rebuild_main(
        mod,
        lambda emitter: visit_bindings(mod, emitter, rewriter.visit),
        finish=lambda emitter, head: rewriter.to_model(emitter, emitter.remap(head)),
    )
