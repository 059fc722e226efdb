"""Build the kernel of one region: its anchor, its epilogue, and its outputs as numbers or bits."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.ir import Expr

from bnn_tvm.kernels import bits, bitserial, floating, gemm, k_major
from bnn_tvm.kernels.border import Element, SkippedBorder
from bnn_tvm.kernels.elementwise import SCALAR_OPS
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.pooled_rows import max_pool_rows
from bnn_tvm.kernels.stages import ACCUMULATE, COMMON, POOLED, RESULT, VALUE, WEIGHT
from bnn_tvm.target import Target

from . import regions
from .binary import CONVOLUTIONS
from .bit_layers import BitLayers, BitSums
from .common_value import find_common
from .dataflow import (
    bindings_of,
    constant_of,
    dtype_of,
    is_tensor,
    op_name,
    results_of,
    shape_of,
    stored_dtype,
)
from .dot_layer import sum_dots
from .dot_weights import stored_weight
from .exact_numbers import ExactNumbers, compute_exactly, exact_dot
from .float_conv import FloatConv
from .fuse_regions import read_levels
from .gemm_layers import NumberWeight, find_gemm_layers
from .layer_weights import Blocking, block_float_weight, count_limits
from .levels import SIGNS, Levels
from .operands import Operands
from .pack_levels import pack_levels
from .sign import sign_operand
from .skipped_border import start_sums
from .windows import border_value, conv_window, pool_window, pooled_rows_beyond

# Operations before an anchor that it does itself.
_COPIED = ("nn.pad", "reshape")


@dataclass(frozen=True)
class RegionKernel:
    """A kernel and what to call it with.

    Attributes
    ----------
    func : tvm.tirx.PrimFunc
        Takes the operands, then the outputs: floats first, then words.
    operands : tuple of int or numpy.ndarray
        The position of a parameter of the region's function, or a constant.
    """

    func: tirx.PrimFunc
    operands: tuple[int | np.ndarray, ...]


def build_region_kernel(
    function: relax.Function,
    kind: str,
    floats: list[int],
    packed: dict[int, Levels],
    target: Target,
) -> RegionKernel:
    """Build the kernel of a region.

    Parameters
    ----------
    function : relax.Function
        The region's float semantics, as `fuse_regions` outlines it.
    kind : str
        The kind of region.
    floats : list of int
        Which results of the function are wanted as numbers.
    packed : dict of int to Levels
        Which are wanted as bit planes, of which levels.
    target : Target
        Gives the vector width that weights are blocked for and the width of words.
    """
    return _KernelBuilder(function, kind, target, bool(packed)).build(floats, packed)


class _KernelBuilder:
    def __init__(self, function: relax.Function, kind: str, target: Target, packs: bool):
        self._kind = kind
        self._word_bits = target.word_bits
        vector = target.vector_bits // (self._word_bits if kind in regions.ON_BITS else 32)
        along_k = target.counts_along_k and kind in regions.LAYERS_ON_BITS
        channels = shape_of(function.params[0])[-1]
        lanes = k_major.outputs_of_block(channels) if along_k else vector
        # Bits are packed in groups of 32 channels: then there are that many to compute.
        self._blocking = Blocking(lanes, 32 if packs else lanes)
        self._levels = read_levels(function)
        self._params = list(function.params)
        self._bindings = bindings_of(function)
        self._values = {b.var: b.value for b in self._bindings}
        self._results = results_of(function)
        self._operands = Operands()
        self._gemm = find_gemm_layers(target, self._operands.constant)
        self._float_conv = FloatConv(target, self._blocking, self._operands.constant)
        self._bit_layers = BitLayers(
            target, self._blocking, self._levels or SIGNS, self._gemm, self._operands.constant
        )
        self._elements: dict[relax.Var, Element] = {}
        self._words: dict[relax.Var, te.Tensor] = {}
        self._exact: dict[relax.Var, ExactNumbers] = {}
        self._sign_sums: BitSums | None = None
        self._skipped: SkippedBorder | None = None
        self._written: set[relax.Var] = set()
        self._read_params(function)

    def _lookup(self, expr: relax.Expr) -> Any:
        return self._values.get(expr) if isinstance(expr, relax.Var) else None

    def _read_params(self, function: relax.Function) -> None:
        for position, param in enumerate(function.params):
            shape, dtype = shape_of(param), stored_dtype(param)
            if self._levels is not None and position == 0:
                words = bits.word_count(shape[-1], self._word_bits) * self._levels.bits
                shape, dtype = (*shape[:-1], words), bits.word_dtype(self._word_bits)
                self._words[param] = self._operands.parameter(position, shape, dtype)
            else:
                self._elements[param] = self._operands.parameter(position, shape, dtype)

    def build(self, floats: list[int], packed: dict[int, Levels]) -> RegionKernel:
        for binding in self._bindings:
            if isinstance(binding.value, relax.Call):
                self._define(binding)
        outputs = self._float_outputs(
            [self._results[i] for i in floats], [self._results[i] for i in packed]
        )
        outputs += [self._packed_output(self._results[i], packed[i]) for i in packed]
        func = te.create_prim_func([*self._operands.tensors, *outputs])
        if self._skipped is not None:
            func = start_sums(func, self._skipped)
        return RegionKernel(func, tuple(self._operands.sources))

    def _keep_common(self, var: relax.Var) -> None:
        """Compute a value once, as a stage that all outputs read."""
        self._elements[var] = te.compute(shape_of(var), self._elements[var], name=COMMON)
        self._written.add(var)

    def _define(self, binding: relax.VarBinding) -> None:
        call, name = binding.value, op_name(binding.value).removeprefix("nn.")
        if op_name(call) in _COPIED:
            return
        if name == "permute_dims":
            self._elements[binding.var] = self._permuted(call)
            return
        if op_name(call) in CONVOLUTIONS or name == "matmul":
            self._layer(binding.var, call)
        elif name in regions.MAX_POOL:
            self._max_pool(binding.var, call)
        elif name in regions.AVG_POOL:
            self._avg_pool(binding.var, call)
        elif (exact := compute_exactly(call, self._exact)) is not None:
            self._define_exact(binding.var, exact)
        else:
            self._elements[binding.var] = self._elementwise(binding.var, call)

    def _define_exact(self, var: relax.Var, exact: ExactNumbers) -> None:
        self._exact[var], self._elements[var] = exact, exact.element

    def _layer(self, var: relax.Var, call: relax.Call) -> None:
        is_dense = op_name(call) == "matmul"
        if self._kind in regions.LAYERS_ON_BITS:
            (self._bitserial_dense if is_dense else self._bitserial_conv)(var, call)
        elif (product := self._multiply_matrices(var, call)) is not None:
            self._elements[var] = product
        elif self._kind in regions.DOT_LAYERS:
            self._dot_layer(var, call)
        else:
            (self._dense if is_dense else self._conv)(var, call)

    def _source(self, call: relax.Call) -> tuple[relax.Expr, relax.Call | None]:
        """Return what an anchor reads, past the padding or flattening inside the region."""
        before = self._lookup(call.args[0])
        if op_name(before) not in _COPIED:
            return call.args[0], None
        return before.args[0], before

    def _bitserial_conv(self, var: relax.Var, call: relax.Call) -> None:
        source, pad = self._source(call)
        weight, groups = constant_of(call.args[1]), int(call.attrs.groups)
        window, pad_value = conv_window(call, pad), border_value(pad)
        sums = self._bit_layers.convolve(
            self._words[source], shape_of(source), weight, groups, window, pad_value
        )
        self._skipped = sums.skipped
        self._define_dot(var, sums)

    def _bitserial_dense(self, var: relax.Var, call: relax.Call) -> None:
        source, _ = self._source(call)
        weight = constant_of(call.args[1]).T.reshape(-1, *shape_of(source)[1:])
        self._define_dot(var, self._bit_layers.multiply_rows(self._words[source], weight))

    def _define_dot(self, var: relax.Var, sums: BitSums) -> None:
        """Turn weighted disagreements into the dot product."""
        exact = exact_dot(sums)
        if exact is not None:
            self._define_exact(var, exact)
        else:
            self._elements[var] = self._dot(sums)
        if sums.of_signs:
            self._sign_sums = sums

    def _dot(self, sums: BitSums) -> Element:
        packed, correction = sums.packed, sums.correction
        taken_off = sums.disagreements.times(-packed.slope)
        base = self._constant_element(packed.base + np.int32(taken_off.base))
        divisor = tirx.const(packed.divisor, "float32")

        def dot(*index: Expr) -> Expr:
            total = base(*index) + taken_off.without_base(*index)
            product = total.astype("float32")
            product = product / divisor if packed.divisor > 1 else product
            return product if correction is None else product + correction(*index)

        return dot

    def _multiply_matrices(self, var: relax.Var, call: relax.Call) -> Element | None:
        """Multiply numbers as matrices do, on GPUs and where all outputs read all inputs."""
        if self._gemm is None:
            return None
        (source, pad), array = self._source(call), constant_of(call.args[1])
        data, shape = self._elements[source], shape_of(source)
        dot_type = regions.DOT_LAYERS.get(self._kind)
        form = gemm.PRODUCT if dot_type is None else dot_type.suffix
        if op_name(call) == "matmul":
            weight = NumberWeight(self._blocking.block(array.T), form)
            return self._gemm.multiply_rows(data, shape, weight)
        blocked, plan = block_float_weight(array, int(call.attrs.groups), self._blocking)
        if plan.step:
            return None
        window = self._conv_window(var, call, pad)
        return self._gemm.convolve(
            data, shape, window, border_value(pad), NumberWeight(blocked, form)
        )

    def _conv_window(self, var: relax.Var, call: relax.Call, pad: relax.Call | None) -> Window:
        """Return the window with the rows that a pooling in the region reads beyond it."""
        return conv_window(call, pad).taller(*pooled_rows_beyond(self._bindings, var))

    def _conv(self, var: relax.Var, call: relax.Call) -> None:
        source, pad = self._source(call)
        weight, groups = constant_of(call.args[1]), int(call.attrs.groups)
        data, window = self._elements[source], self._conv_window(var, call, pad)
        conv = self._float_conv.convolve(
            data, shape_of(source), weight, groups, window, border_value(pad)
        )
        self._elements[var] = self._blocking.as_channels(conv)

    def _dense(self, var: relax.Var, call: relax.Call) -> None:
        blocked = self._blocking.block(stored_weight(constant_of(call.args[1]).T))
        weight = self._operands.constant(blocked, WEIGHT)
        sums = floating.dense(self._elements[call.args[0]], weight)
        self._elements[var] = self._blocking.as_channels(sums)

    def _dot_layer(self, var: relax.Var, call: relax.Call) -> None:
        """Multiply bytes or short floats in groups."""
        source, pad = self._source(call)
        form, data = regions.DOT_LAYERS[self._kind], self._elements[source]
        add_weight = functools.partial(self._operands.constant, name=WEIGHT)
        sums = sum_dots(form, call, pad, border_value(pad), data, self._blocking, add_weight)
        self._elements[var] = self._blocking.as_channels(sums)

    def _max_pool(self, var: relax.Var, call: relax.Call) -> None:
        source, positions, window = call.args[0], shape_of(var)[1:-1], pool_window(call)
        if source in self._words:
            pooled = bitserial.bitserial_max_pool(self._words[source], window, positions)
            self._words[var] = pooled
            return
        data = self._elements[source]
        if self._kind in regions.CONV:
            self._elements[var] = max_pool_rows(data, shape_of(source), window, positions)
        else:
            self._elements[var] = floating.max_pool(data, window, positions)

    def _avg_pool(self, var: relax.Var, call: relax.Call) -> None:
        source, positions = call.args[0], shape_of(var)[1:-1]
        is_layer = self._kind in regions.LAYERS_ON_BITS
        if is_layer:
            self._keep_common(source)
        sums, divisor = floating.avg_pool(
            self._elements[source],
            pool_window(call),
            positions,
            bool(call.attrs.count_include_pad),
            POOLED if is_layer else ACCUMULATE,
        )
        self._elements[var] = lambda *index: sums(*index) / divisor(*index)

    def _permuted(self, call: relax.Call) -> Element:
        element, axes = self._operand(call.args[0]), [int(axis) for axis in call.attrs.axes]
        return lambda *index: element(*(index[axes.index(axis)] for axis in range(len(axes))))

    def _elementwise(self, var: relax.Var, call: relax.Call) -> Element:
        @functools.cache
        def operands() -> list[Element]:
            """Find the operands at first use: a folded operation asks for no constants."""
            dtype = [lambda *_: dtype_of(var)] if op_name(call) == "astype" else []
            return [self._operand(arg) for arg in call.args] + dtype

        apply = SCALAR_OPS[op_name(call)]
        return lambda *index: apply(*(operand(*index) for operand in operands()))

    def _operand(self, arg: relax.Expr) -> Element:
        array = constant_of(arg)
        if array is not None:
            return self._constant_element(array)
        if not is_tensor(arg):
            return lambda *_: tirx.const(float(arg.value), "float32")
        return _broadcasting(self._elements[arg], shape_of(arg))

    def _constant_element(self, array: np.ndarray) -> Element:
        if array.size == 1:
            scalar = tirx.const(array.item(), str(array.dtype))
            return lambda *_: scalar
        if array.size == array.shape[-1]:
            vector = self._operands.constant(np.ascontiguousarray(array.reshape(-1)))
            return lambda *index: vector(index[-1])
        return _broadcasting(self._operands.constant(array), array.shape)

    def _float_outputs(self, written: list[relax.Var], packed: list[relax.Var]) -> list[te.Tensor]:
        """Write numbers; what several outputs have in common is computed once, before them."""
        outputs = {*written, *packed}
        common = find_common(self._params, self._bindings, outputs) if len(outputs) > 1 else None
        if common is not None and common not in written:
            self._keep_common(common)
        order = sorted(written, key=lambda var: common is None or not var.same_as(common))
        by_var = {var: self._float_output(var) for var in order}
        return [by_var[var] for var in written]

    def _float_output(self, var: relax.Var) -> te.Tensor:
        """Write numbers; what comes after them in the region reads them from there."""
        result = te.compute(shape_of(var), self._elements[var], name=RESULT)
        self._elements[var] = result
        self._written.add(var)
        return result

    def _packed_output(self, var: relax.Var, levels: Levels) -> te.Tensor:
        if var in self._words:
            return self._words[var]
        if levels != SIGNS:
            return pack_levels(self._elements[var], shape_of(var), levels, self._word_bits)
        *outer, channels = shape_of(var)
        groups = bits.word_count(channels, self._word_bits) * self._word_bits
        threshold = None if self._written else self._integer_threshold(var, groups)
        if threshold is None:
            return bits.pack_elements(self._signed_element(var), shape_of(var), self._word_bits)
        value = te.compute((*outer, groups), threshold, name=VALUE)
        return bits.bitpack(value, self._word_bits)

    def _signed_element(self, var: relax.Var) -> Element:
        """Give numbers of the same signs as a variable of -1 and +1, before they are rounded."""
        operand = sign_operand(self._values[var], self._lookup)
        return self._elements[var if var in self._written or operand is None else operand]

    def _integer_threshold(self, var: relax.Var, groups: int) -> Element | None:
        """Compare the count itself where the sign is that of a dot product less a constant.

        ``K - 2 m >= t`` is ``floor((K - ceil(t)) / 2) - m >= 0`` in integers.
        """
        margin = self._lookup(sign_operand(self._values[var], self._lookup))
        if self._sign_sums is None or op_name(margin) != "subtract":
            return None
        layer, limits = self._lookup(margin.args[0]), constant_of(margin.args[1])
        is_layer = op_name(layer) in CONVOLUTIONS or op_name(layer) == "matmul"
        if not is_layer or limits is None or limits.size not in (1, *limits.shape[-1:]):
            return None
        count, base = self._sign_sums.disagreements, int(self._sign_sums.packed.base[0])
        channels = np.broadcast_to(limits.reshape(-1), shape_of(var)[-1:])
        limits = count_limits(channels, base, groups) - np.int32(count.base)
        limit = self._operands.constant(limits)
        return lambda *index: limit(index[-1]) - count.without_base(*index)


def _broadcasting(tensor: te.Tensor, shape: tuple[int, ...]) -> Element:
    """Read a tensor at an index of the result, 0 along axes of extent 1."""

    def element(*index: Expr) -> Expr:
        own = index[len(index) - len(shape) :]
        return tensor(*(i if extent > 1 else 0 for i, extent in zip(own, shape, strict=True)))

    return element
