"""Divide ``main`` into regions, each of which becomes one kernel.

A region is an anchor (a layer, a pooling, or nothing) with the elementwise operations that
follow it. Regions are numbered in order of execution and read only from earlier ones, so that
calling them in that order is always right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm import relax
from tvm.ir import IRModule

from .binary import holds_signs, layer_shape, reason_not_binary
from .dataflow import arguments, main_bindings, op_name, shape_of
from .evaluate import is_elementwise

# Kinds of region; the names follow TOPI.
BITSERIAL_CONV2D = "bitserial_conv2d"
BITSERIAL_DENSE = "bitserial_dense"
BITSERIAL_MAX_POOL2D = "bitserial_max_pool2d"
CONV2D = "conv2d"
DENSE = "dense"
MAX_POOL2D = "max_pool2d"
AVG_POOL2D = "avg_pool2d"
ELEMENTWISE = "elementwise"
# Between regions that keep bits and others that move them as numbers.
BITPACK = "bitpack"
BITUNPACK = "bitunpack"
# Left to TVM's own operator library and the portable schedule.
OTHER = "other"

# Read their first operand as packed bits.
ON_BITS = (BITSERIAL_CONV2D, BITSERIAL_DENSE, BITSERIAL_MAX_POOL2D)

# Computed by expressions so long that TVM's simplifier chokes on one inside another.
_LONG = ("tanh", "sigmoid")


@dataclass
class Region:
    """Bindings that one kernel computes.

    Attributes
    ----------
    kind : str
        One of the kinds above.
    anchor : relax.Var
        What the anchor computes; of an elementwise region, its first result.
    bindings : list of relax.VarBinding
        In order of execution.
    """

    kind: str
    anchor: relax.Var
    bindings: list[relax.VarBinding] = field(default_factory=list)

    @property
    def data(self) -> relax.Expr:
        """The anchor's first operand, past the padding or flattening that the region holds."""
        return self.bindings[0].value.args[0]

    def inputs(self) -> list[relax.Var]:
        """List the variables read from outside, the anchor's data first."""
        inside = {binding.var for binding in self.bindings}
        read = [arg for binding in self.bindings for arg in arguments(binding.value)]
        outside = [v for v in read if isinstance(v, relax.Var) and v not in inside]
        return list(dict.fromkeys(outside))


class _Divider:
    def __init__(self, mod: IRModule):
        self.regions: list[Region] = []
        self._values = {binding.var: binding for binding in main_bindings(mod)}
        self._index: dict[relax.Var, int] = {}

    def lookup(self, expr: relax.Expr) -> relax.Expr | None:
        binding = self._values.get(expr)
        return binding.value if binding else None

    def add(self, binding: relax.VarBinding) -> None:
        """Put a binding into the region of its latest operand if it fits, else into a new one."""
        latest = self._latest_region(binding)
        if latest is not None and self._absorbs(latest, binding):
            latest.bindings.append(binding)
            self._index[binding.var] = self._index[latest.anchor]
            return
        region = self._new_region(binding)
        self._index[binding.var] = len(self.regions)
        self.regions.append(region)

    def _latest_region(self, binding: relax.VarBinding) -> Region | None:
        places = [self._index[a] for a in arguments(binding.value) if a in self._index]
        return self.regions[max(places)] if places else None

    @staticmethod
    def _absorbs(region: Region, binding: relax.VarBinding) -> bool:
        if region.kind in (OTHER, BITSERIAL_MAX_POOL2D) or not is_elementwise(binding.value):
            return False
        if op_name(binding.value) in _LONG and _holds_long(region):
            return False
        if region.kind in ON_BITS and _reads(binding.value, region.data):
            # The region has its data as bits only.
            return False
        return shape_of(region.anchor) == shape_of(binding.var)

    def _new_region(self, binding: relax.VarBinding) -> Region:
        kind = self._kind(binding)
        absorbed = self._producer_to_absorb(kind, binding.value)
        return Region(kind, binding.var, [*absorbed, binding])

    def _kind(self, binding: relax.VarBinding) -> str:
        call, name = binding.value, op_name(binding.value)
        if layer_shape(call, binding.var):
            return self._layer_kind(call)
        if name == "nn.max_pool2d" and call.attrs.layout == "NHWC":
            on_bits = holds_signs(call.args[0], self.lookup)
            return BITSERIAL_MAX_POOL2D if on_bits else MAX_POOL2D
        if name == "nn.avg_pool2d" and call.attrs.layout == "NHWC":
            return AVG_POOL2D
        return ELEMENTWISE if is_elementwise(call) else OTHER

    def _layer_kind(self, call: relax.Call) -> str:
        is_binary = not reason_not_binary(call, self.lookup)
        if op_name(call) == "matmul":
            fits = len(shape_of(call.args[0])) == 2
            return (BITSERIAL_DENSE if is_binary else DENSE) if fits else OTHER
        fits = call.attrs.data_layout == "NHWC" and int(call.attrs.groups) == 1
        return (BITSERIAL_CONV2D if is_binary else CONV2D) if fits else OTHER

    def _producer_to_absorb(self, kind: str, call: relax.Call) -> list[relax.VarBinding]:
        """Take the padding before a convolution, or the flattening before a dense layer.

        The operation is copied into the region: it costs nothing there, and where nothing else
        reads it, dead code elimination removes the original.
        """
        producer = self._values.get(call.args[0]) if call.args else None
        if producer is None:
            return []
        name = op_name(producer.value)
        if kind in (BITSERIAL_CONV2D, CONV2D) and name == "nn.pad":
            has_own_padding = any(int(width) for width in call.attrs.padding)
            return [] if has_own_padding or not _pads_space_only(producer.value) else [producer]
        if kind == BITSERIAL_DENSE and name == "reshape" and _flattens(producer):
            return [producer]
        return []


def _holds_long(region: Region) -> bool:
    return any(op_name(binding.value) in _LONG for binding in region.bindings)


def _reads(call: relax.Call, data: relax.Expr) -> bool:
    return any(arg.same_as(data) for arg in arguments(call))


def _pads_space_only(pad: relax.Call) -> bool:
    widths = [int(width) for width in pad.attrs.pad_width]
    return not any(widths[:2]) and not any(widths[6:])


def _flattens(binding: relax.VarBinding) -> bool:
    before, after = shape_of(binding.value.args[0]), shape_of(binding.var)
    return len(before) == 4 and len(after) == 2 and before[0] == after[0]


def divide_into_regions(mod: IRModule) -> list[Region]:
    """List the regions of ``main``, in an order in which they can run.

    Expects NHWC data. Every binding of ``main`` is in one region, and paddings and flattenings
    of binary data also in those of the layers that read them.
    """
    divider = _Divider(mod)
    for binding in main_bindings(mod):
        if isinstance(binding.value, relax.Call):
            divider.add(binding)
    return divider.regions
