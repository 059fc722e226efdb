"""Pass: pad signals as signals; stock MXNet pads them as images of one row."""

from __future__ import annotations

from tvm import relax
from tvm.ir import IRModule

from .dataflow import Emitter, op_name, rewrite_calls, shape_of


def _squeezed_widths(pad: relax.Call, shape: tuple[int, ...]) -> list[int] | None:
    """Return the pad widths of the axes of a shape, if the other axes have extent 1 and none."""
    extents = list(shape_of(pad.args[0]))
    widths = [int(width) for width in pad.attrs.pad_width]
    kept: list[int] = []
    remaining = list(shape)
    for extent, low, high in zip(extents, widths[0::2], widths[1::2], strict=True):
        if remaining and extent == remaining[0]:
            remaining.pop(0)
            kept += [low, high]
        elif extent != 1 or low or high:
            return None
    return kept if not remaining else None


def _squeeze(emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
    if op_name(call) not in ("reshape", "squeeze"):
        return None
    pad = emitter.value(call.args[0])
    if op_name(pad) != "nn.pad":
        return None
    expand = emitter.value(pad.args[0])
    if op_name(expand) not in ("reshape", "expand_dims"):
        return None
    source = expand.args[0]
    widths = _squeezed_widths(pad, shape_of(source))
    if widths is None:
        return None
    squeezed = relax.op.nn.pad(source, widths, pad_value=float(pad.attrs.pad_value))
    same = shape_of(emitter.builder.normalize(squeezed)) == shape_of(
        emitter.builder.normalize(call)
    )
    return squeezed if same else None


def squeeze_pad(mod: IRModule) -> IRModule:
    """Rewrite reshape(pad(reshape(x))) to pad(x) where the reshapes add and drop an axis of 1."""
    return rewrite_calls(mod, _squeeze)
