"""Pass: from the model's NCHW to NHWC inside, with layout changes at the border only."""

from __future__ import annotations

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

_TO_NHWC = (0, 2, 3, 1)
_TO_NCHW = (0, 3, 1, 2)
# Where each NCHW axis lies in NHWC.
_AXIS = (0, 3, 1, 2)

_POOLS: dict[str, Callable[..., relax.Call]] = {
    "nn.max_pool2d": relax.op.nn.max_pool2d,
    "nn.avg_pool2d": relax.op.nn.avg_pool2d,
}


class _LayoutRewriter:
    """Visits the bindings in order and knows which new variables hold NHWC data.

    Attributes
    ----------
    nhwc : set of relax.Var
        New four-dimensional variables that lie in NHWC.
    flattened : dict of relax.Var to tuple of int
        Matrices (N, H*W*C) that the model has as (N, C*H*W), with their (C, H, W).
    """

    def __init__(self, mod: IRModule):
        self.nhwc: set[relax.Expr] = set()
        self.flattened: dict[relax.Expr, tuple[int, ...]] = {}
        self._only_feeds_matmul = _vars_that_only_feed_matmul(mod)
        self._handlers: dict[str, Callable[..., relax.Var | None]] = {
            "nn.conv2d": self._conv2d,
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

    def to_nhwc(self, emitter: Emitter, x: relax.Expr) -> relax.Expr:
        """Return x in NHWC, moving its axes if it is not."""
        if x in self.nhwc:
            return x
        shape = shape_of(x)
        moved = tuple(shape[axis] for axis in _TO_NHWC)
        free = shape[1] == 1 or shape[2] == shape[3] == 1
        call = relax.op.reshape(x, moved) if free else relax.op.permute_dims(x, _TO_NHWC)
        return self._mark(emitter.emit(call, f"{_name(x)}_nhwc"))

    def to_nchw(self, emitter: Emitter, x: relax.Expr) -> relax.Expr:
        """Return x in the model's layout, moving its axes if they are not there."""
        if x in self.nhwc:
            return emitter.emit(relax.op.permute_dims(x, _TO_NCHW), f"{_name(x)}_nchw")
        if x in self.flattened:
            channels, height, width = self.flattened[x]
            batch = shape_of(x)[0]
            spatial = relax.op.reshape(x, (batch, height, width, channels))
            nchw = relax.op.permute_dims(emitter.emit(spatial, f"{_name(x)}_nhwc"), _TO_NCHW)
            return emitter.emit(
                relax.op.reshape(emitter.emit(nchw, _name(x)), shape_of(x)), _name(x)
            )
        return x

    def _mark(self, var: relax.Var) -> relax.Var:
        self.nhwc.add(var)
        return var

    def _in_model_layout(self, emitter: Emitter, call: relax.Call) -> relax.Call:
        args = [
            relax.Tuple([self.to_nchw(emitter, field) for field in arg.fields])
            if isinstance(arg, relax.Tuple)
            else self.to_nchw(emitter, arg)
            for arg in call.args
        ]
        return relax.Call(call.op, args, call.attrs, call.ty_args)

    def _conv2d(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        weight, attrs = constant_of(call.args[1]), call.attrs
        if weight is None or attrs.data_layout != "NCHW":
            return None
        ohwi = relax.const(np.ascontiguousarray(weight.transpose(_TO_NHWC)))
        conv = relax.op.nn.conv2d(
            self.to_nhwc(emitter, call.args[0]),
            ohwi,
            strides=list(attrs.strides),
            padding=list(attrs.padding),
            dilation=list(attrs.dilation),
            groups=int(attrs.groups),
            data_layout="NHWC",
            kernel_layout="OHWI",
        )
        return self._mark(emitter.emit(conv, name))

    def _pool(self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var) -> relax.Var:
        attrs = call.attrs
        pool = _POOLS[op_name(call)](
            self.to_nhwc(emitter, call.args[0]),
            pool_size=list(attrs.pool_size),
            strides=list(attrs.strides),
            padding=list(attrs.padding),
            dilation=list(attrs.dilation),
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=bool(attrs.count_include_pad),
            layout="NHWC",
        )
        return self._mark(emitter.emit(pool, name))

    def _pad(self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var) -> relax.Var | None:
        widths = [int(width) for width in call.attrs.pad_width]
        if len(widths) != 8:
            return None
        moved = [widths[2 * axis + end] for axis in _TO_NHWC for end in (0, 1)]
        x = self.to_nhwc(emitter, call.args[0])
        pad = relax.op.nn.pad(x, moved, pad_value=float(call.attrs.pad_value))
        return self._mark(emitter.emit(pad, name))

    def _concat(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        fields = arguments(call)
        if len(shape_of(fields[0])) != 4:
            return None
        moved = [self.to_nhwc(emitter, field) for field in fields]
        axis = _AXIS[int(call.attrs.axis) % 4]
        return self._mark(emitter.emit(relax.op.concat(moved, axis), name))

    def _strided_slice(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        x, axes, *bounds = call.args
        if len(shape_of(x)) != 4:
            return None
        moved = [_AXIS[int(axis.value) % 4] for axis in axes.fields]
        begin, end, *strides = ([int(b.value) for b in bound.fields] for bound in bounds)
        sliced = relax.op.strided_slice(self.to_nhwc(emitter, x), moved, begin, end, *strides)
        return self._mark(emitter.emit(sliced, name))

    def _reduction(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        x, attrs = call.args[0], call.attrs
        axes = [] if attrs.axis is None else sorted(int(axis) % 4 for axis in attrs.axis)
        keeps_layout = bool(attrs.keepdims) or axes == [2, 3]
        if len(shape_of(x)) != 4 or not keeps_layout or not axes:
            return None
        reduce = getattr(relax.op, op_name(call))
        moved = [_AXIS[axis] for axis in axes]
        var = emitter.emit(reduce(self.to_nhwc(emitter, x), moved, bool(attrs.keepdims)), name)
        return self._mark(var) if attrs.keepdims else var

    def _reshape(
        self, emitter: Emitter, call: relax.Call, name: str, old: relax.Var
    ) -> relax.Var | None:
        x, shape = call.args[0], shape_of(old)
        if x not in self.nhwc:
            return None
        batch, height, width, channels = shape_of(x)
        flattens = shape == (batch, height * width * channels)
        if not flattens or not (old in self._only_feeds_matmul or height == width == 1):
            return None
        var = emitter.emit(relax.op.reshape(x, shape), name)
        if height * width > 1:
            self.flattened[var] = (channels, height, width)
        return var

    def _matmul(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        x, weight = call.args[0], constant_of(call.args[1])
        if x not in self.flattened or weight is None:
            return None
        rows = weight.reshape(*self.flattened[x], -1).transpose(1, 2, 0, 3).reshape(weight.shape)
        moved = relax.const(np.ascontiguousarray(rows))
        return emitter.emit(relax.op.matmul(x, moved), name)

    def _elementwise(
        self, emitter: Emitter, call: relax.Call, name: str, _: relax.Var
    ) -> relax.Var | None:
        if not any(arg in self.nhwc for arg in call.args) or not _broadcasts_alike(call):
            return None
        args = [self._like_nhwc(emitter, arg) for arg in call.args]
        return self._mark(emitter.emit(relax.Call(call.op, args, call.attrs, call.ty_args), name))

    def _like_nhwc(self, emitter: Emitter, arg: relax.Expr) -> relax.Expr:
        """Bring an operand that broadcasts against NHWC data into that layout."""
        array = constant_of(arg)
        if array is not None:
            spread = array.reshape((1,) * (4 - array.ndim) + array.shape)
            moved = np.ascontiguousarray(spread.transpose(_TO_NHWC))
            return arg if array.ndim == 0 else relax.const(moved, str(array.dtype))
        return self.to_nhwc(emitter, arg) if is_tensor(arg) and len(shape_of(arg)) == 4 else arg


def _broadcasts_alike(call: relax.Call) -> bool:
    """Tell whether every operand can be brought to NHWC: images, numbers and constants."""
    ranks = [(len(shape_of(arg)), constant_of(arg)) for arg in call.args if is_tensor(arg)]
    return all(rank in (0, 4) or (rank < 4 and array is not None) for rank, array in ranks)


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
    """Compute four-dimensional data in NHWC and permute weights to match.

    Inputs and outputs of ``main`` keep the model's layout. A flatten that feeds a dense layer
    keeps the order of the data and permutes the rows of the layer's weights instead.
    """
    rewriter = _LayoutRewriter(mod)
    return rebuild_main(
        mod,
        lambda emitter: visit_bindings(mod, emitter, rewriter.visit),
        finish=lambda emitter, head: rewriter.to_nchw(emitter, emitter.remap(head)),
    )
