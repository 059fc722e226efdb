"""Divide ``main`` into regions, each of which becomes one kernel.

A region is an anchor (a layer, a pooling, or nothing) with the elementwise operations that
follow it. Regions are numbered in order of execution and read only from earlier ones, so that
calling them in that order is always right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.kernels.dot import BF16, FP16, INT8, TF32, plan_planes
from bnn_tvm.kernels.stages import ELEMENTWISE

from .binary import CONVOLUTIONS, layer_shape, padding_before, reason_not_binary
from .dataflow import (
    arguments,
    count_uses,
    dtype_of,
    is_tensor,
    main_bindings,
    main_result,
    op_name,
    shape_of,
)
from .evaluate import is_elementwise
from .levels import SIGNS, Levels, activation_levels
from .windows import conv_window

# Kinds of region; the names follow TOPI.
CONV = tuple(CONVOLUTIONS.values())
BITSERIAL_CONV = tuple(f"bitserial_{layer}" for layer in CONV)
DENSE = "dense"
# Multiply bytes or short floats, by the dtype of their data.
DOT_TYPES = {"uint8": INT8, "bfloat16": BF16, "float16": FP16}
# By the kind of layer.
DOT_LAYERS = {
    f"{layer}_{dot.suffix}": dot for layer in (*CONV, DENSE) for dot in (INT8, BF16, FP16, TF32)
}
MULTIPLIES_TF32 = "bnn.multiplies_tf32"
"""Attribute of a module whose float32 layers round what they multiply to tf32."""

BITSERIAL_DENSE = "bitserial_dense"
MAX_POOL = ("max_pool1d", "max_pool2d", "max_pool3d")
BITSERIAL_MAX_POOL = tuple(f"bitserial_{pool}" for pool in MAX_POOL)
AVG_POOL = ("avg_pool1d", "avg_pool2d", "avg_pool3d")

# Between regions that keep bits and others that move them as numbers.
BITPACK = "bitpack"
BITUNPACK = "bitunpack"
# Left to TVM's own operator library and the portable schedule.
OTHER = "other"

# Read their first operand as packed bits.
LAYERS_ON_BITS = (*BITSERIAL_CONV, BITSERIAL_DENSE)
ON_BITS = (*LAYERS_ON_BITS, *BITSERIAL_MAX_POOL)

CHANNELS_LAST = ("NWC", "NHWC", "NDHWC")

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
    levels : Levels or None
        Of the data, if the region reads it as bits.
    """

    kind: str
    anchor: relax.Var
    bindings: list[relax.VarBinding] = field(default_factory=list)
    levels: Levels | None = None

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
        self._uses = count_uses(mod)
        self._apart = _narrowing_starts(self._values, self._uses)
        self._multiplies_tf32 = mod.attrs is not None and MULTIPLIES_TF32 in mod.attrs

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

    def _absorbs(self, region: Region, binding: relax.VarBinding) -> bool:
        if region.kind in (OTHER, *BITSERIAL_MAX_POOL) or not is_elementwise(binding.value):
            return False
        if binding.var in self._apart:
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
        region = Region(kind, binding.var, [*absorbed, binding])
        if kind in ON_BITS:
            region.levels = activation_levels(region.data, self.lookup)
        return region

    def _kind(self, binding: relax.VarBinding) -> str:
        call, name = binding.value, op_name(binding.value).removeprefix("nn.")
        if layer_shape(call, binding.var):
            return self._layer_kind(call)
        if name in (*MAX_POOL, *AVG_POOL) and call.attrs.layout in CHANNELS_LAST:
            on_bits = activation_levels(call.args[0], self.lookup) == SIGNS
            return f"bitserial_{name}" if on_bits and name in MAX_POOL else name
        return ELEMENTWISE if is_elementwise(call) else OTHER

    def _layer_kind(self, call: relax.Call) -> str:
        is_binary = not reason_not_binary(call, self.lookup)
        dot = TF32 if self._multiplies_tf32 else DOT_TYPES.get(dtype_of(call.args[0]))
        suffix = "" if dot is None else f"_{dot.suffix}"
        if op_name(call) == "matmul":
            fits = len(shape_of(call.args[0])) == 2
            return (BITSERIAL_DENSE if is_binary else DENSE + suffix) if fits else OTHER
        if call.attrs.data_layout not in CHANNELS_LAST:
            return OTHER
        layer = CONVOLUTIONS[op_name(call)]
        return f"bitserial_{layer}" if is_binary else layer + suffix

    def _image(self, data: relax.Expr) -> list[relax.VarBinding]:
        """List how an image becomes channels-last, if nothing else reads that on the way."""
        chain: list[relax.VarBinding] = []
        while (made := self._values.get(data)) is not None and self._uses[data] == 1:
            if not (_is_unary(made) or (_is_move(made) and not any(map(_is_move, chain)))):
                break
            chain.insert(0, made)
            data = made.value.args[0]
        return chain if any(map(_is_move, chain)) else []

    def _takes_image(self, kind: str, call: relax.Call) -> bool:
        """Tell whether a layer computes what it reads element by element, plane by plane."""
        if kind in CONV:
            return True
        if kind not in DOT_LAYERS or int(call.attrs.groups) != 1:
            return False
        window = conv_window(call, padding_before(call, self.lookup))
        group = DOT_LAYERS[kind].group
        return plan_planes(window, shape_of(call.args[0])[-1], group) is not None

    def _producer_to_absorb(self, kind: str, call: relax.Call) -> list[relax.VarBinding]:
        """Take the padding before a convolution, or the flattening before a dense layer.

        The operation is copied into the region: it costs nothing there, and where nothing else
        reads it, dead code elimination removes the original. A convolution of numbers also takes
        the transposition of an image, with what is computed of the image before.
        """
        producer = self._values.get(call.args[0]) if call.args else None
        if producer is None:
            return []
        if op_name(call) in CONVOLUTIONS:
            padding = [] if padding_before(call, self.lookup) is None else [producer]
            data = padding[0].value.args[0] if padding else call.args[0]
            return [*(self._image(data) if self._takes_image(kind, call) else []), *padding]
        if kind == BITSERIAL_DENSE and op_name(producer.value) == "reshape" and _flattens(producer):
            return [producer]
        return []


def _narrowing_starts(
    values: Mapping[relax.Var, relax.VarBinding], uses: Counter[relax.Var]
) -> set[relax.Var]:
    """Find the first result of each chain that narrows numbers which are read elsewhere as well.

    Such a chain is a region of its own: as a second output in numbers it would cost the region
    before it its schedule.
    """
    starts = set()
    for binding in values.values():
        narrows = is_tensor(binding.var) and dtype_of(binding.var) in DOT_TYPES
        while narrows and binding is not None and is_elementwise(binding.value):
            source = binding.value.args[0]
            if uses[source] > 1:
                starts.add(binding.var)
                break
            binding = values.get(source)
    return starts


def _holds_long(region: Region) -> bool:
    return any(op_name(binding.value) in _LONG for binding in region.bindings)


def _is_unary(binding: relax.VarBinding) -> bool:
    """Tell whether an operation computes each number from that at the same place, and constants."""
    if not is_elementwise(binding.value):
        return False
    first, *others = arguments(binding.value)
    is_first = isinstance(first, relax.Var) and shape_of(first) == shape_of(binding.var)
    return is_first and not any(isinstance(arg, relax.Var) for arg in others)


def _is_move(binding: relax.VarBinding) -> bool:
    """Tell whether an operation brings the axes of a tensor into another order."""
    return op_name(binding.value) == "permute_dims"


def _reads(call: relax.Call, data: relax.Expr) -> bool:
    return any(arg.same_as(data) for arg in arguments(call))


def _flattens(binding: relax.VarBinding) -> bool:
    before, after = shape_of(binding.value.args[0]), shape_of(binding.var)
    return len(before) > 2 and len(after) == 2 and before[0] == after[0]


def divide_into_regions(mod: IRModule) -> list[Region]:
    """List the regions of ``main``, in an order in which they can run.

    Expects NHWC data. Every binding of ``main`` is in one region, and paddings and flattenings
    of binary data also in those of the layers that read them.
    """
    divider = _Divider(mod)
    for binding in main_bindings(mod):
        if isinstance(binding.value, relax.Call):
            divider.add(binding)
    return _drop_unread(divider.regions, mod)


def _drop_unread(regions: list[Region], mod: IRModule) -> list[Region]:
    """Leave out regions that only copies in other regions were made of."""
    read, kept = set(main_result(mod)), []
    for region in reversed(regions):
        if any(binding.var in read for binding in region.bindings):
            kept.append(region)
            read.update(region.inputs())
    return kept[::-1]
