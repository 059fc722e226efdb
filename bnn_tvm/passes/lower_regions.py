"""Pass: replace every region by a kernel on packed bits and blocked weights.

Tensors of signs between regions become words; whatever else reads them still gets floats, from
the same kernel.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import tvm
import tvm_ffi
from tvm import relax, te
from tvm.ir import GlobalVar, IRModule

from bnn_tvm.kernels.bits import bitunpack, word_count, word_dtype
from bnn_tvm.kernels.stages import KERNEL, NUM_OUTPUTS
from bnn_tvm.target import Target

from .dataflow import (
    MAIN,
    Emitter,
    arguments,
    dtype_of,
    is_tensor,
    main_bindings,
    main_result,
    rebuild_main,
    shape_of,
    stored_dtype,
)
from .fuse_regions import COMPOSITE, LAYER, read_levels, region_kind
from .levels import SIGNS, Levels
from .move_bits import can_move_bits, move_bits
from .pack_levels import pack_levels
from .pool_stems import POOLED_LAYER, pool_stems
from .pool_sums import pool_sums
from .region_kernel import RegionKernel, build_region_kernel
from .regions import BITPACK, BITSERIAL_MAX_POOL, BITUNPACK, ELEMENTWISE

KERNEL_OF_LAYER = "bnn.kernel_of_layer"
"""Attribute of a lowered module: the name of the kernel that computes each region's anchor."""


@dataclass
class _Forms:
    """In which forms the variables of ``main`` are read, and of which levels as bits."""

    as_bits: dict[relax.Var, Levels] = field(default_factory=dict)
    as_floats: set[relax.Var] = field(default_factory=set)


class _Built(NamedTuple):
    """A kernel of a region with its operands that are constants, None for the others."""

    kernel: RegionKernel
    constants: list[relax.Expr | None]


def lower_regions(mod: IRModule, target: Target) -> IRModule:
    """Replace the calls of composite functions by ``call_tir`` of kernels for a target.

    Kernels of equal code share one PrimFunc, which carries the kind of its region in
    ``bnn.kernel``.
    """
    mod = pool_sums(pool_stems(mod, target), target)
    lowerer = _Lowerer(mod, target)
    kept = {MAIN} | {g.name_hint for g, f in mod.functions.items() if COMPOSITE not in f.attrs}
    slim = IRModule({g: f for g, f in mod.functions.items() if g.name_hint in kept})
    lowered = rebuild_main(slim, lowerer.write)
    return lowered.with_attr(KERNEL_OF_LAYER, lowerer.kernel_of_layer)


class _Lowerer:
    def __init__(self, mod: IRModule, target: Target):
        self._mod = mod
        self._target = target
        self._forms = self._find_forms()
        self._bits: dict[relax.Var, relax.Expr] = {}
        self._kernels: dict[int, list[tuple[tvm.tirx.PrimFunc, GlobalVar]]] = {}
        self._built: dict[tuple[Any, ...], _Built] = {}
        self._names: Counter[str] = Counter()
        self.kernel_of_layer: dict[str, str] = {}

    def _find_forms(self) -> _Forms:
        """Note for every variable whether regions on bits, or others, read it.

        Goes from the last binding to the first: an operation that moves words asks for what is
        asked of its result.
        """
        forms = _Forms(as_floats={v for v in main_result(self._mod) if isinstance(v, relax.Var)})
        for binding in reversed(main_bindings(self._mod)):
            call = binding.value
            if not isinstance(call, relax.Call):
                continue
            if self._moves_bits(binding, forms):
                forms.as_bits |= dict.fromkeys(arguments(call)[: _operand_count(call)], SIGNS)
                if binding.var not in forms.as_floats:
                    continue
            levels = self._levels_read(call)
            for position, arg in enumerate(arguments(call)):
                if levels is not None and position == 0:
                    forms.as_bits[arg] = levels
                else:
                    forms.as_floats.add(arg)
        return forms

    @staticmethod
    def _moves_bits(binding: relax.VarBinding, forms: _Forms) -> bool:
        return forms.as_bits.get(binding.var) == SIGNS and can_move_bits(binding.value)

    def _levels_read(self, call: relax.Call) -> Levels | None:
        """Return the levels of a region's data if it reads them as bits."""
        return read_levels(self._mod[call.op]) if region_kind(self._mod, call) else None

    def write(self, emitter: Emitter) -> None:
        """Emit the new bindings of ``main``."""
        fields = self._tuple_fields()
        for binding in main_bindings(self._mod):
            kind = region_kind(self._mod, binding.value)
            if kind:
                outputs = fields.get(binding.var, [binding.var])
                self._lower(emitter, kind, binding.value, outputs)
            elif not isinstance(binding.value, relax.TupleGetItem):
                self._keep(emitter, binding)

    def _tuple_fields(self) -> dict[relax.Var, list[relax.Var]]:
        """List the variables into which the results of regions are taken apart."""
        fields: dict[relax.Var, list[relax.Var]] = {}
        for binding in main_bindings(self._mod):
            if isinstance(binding.value, relax.TupleGetItem):
                fields.setdefault(binding.value.tuple_value, []).append(binding.var)
        return fields

    def _keep(self, emitter: Emitter, binding: relax.VarBinding) -> None:
        if self._moves_bits(binding, self._forms):
            call = binding.value
            operands = arguments(call)[: _operand_count(call)]
            words = [self._bits_of(emitter, operand, SIGNS) for operand in operands]
            moved = move_bits(call, words, self._target.word_bits)
            self._bits[binding.var] = emitter.emit(moved, binding.var.name)
            if binding.var not in self._forms.as_floats:
                return
        emitter.rebind(binding.var, emitter.remap(binding.value))

    def _lower(
        self, emitter: Emitter, kind: str, call: relax.Call, outputs: list[relax.Var]
    ) -> None:
        as_bits = self._forms.as_bits
        bits = {i: as_bits[var] for i, var in enumerate(outputs) if var in as_bits}
        floats = [i for i, var in enumerate(outputs) if var in self._forms.as_floats]
        if kind in BITSERIAL_MAX_POOL:
            self._lower_to(emitter, kind, call, outputs, [], {0: SIGNS})
            for i in floats:
                emitter.replace(outputs[i], self._unpack(emitter, outputs[i]))
            return
        if kind != ELEMENTWISE:
            # A kernel that packs several planes computes its values once for each of them.
            floats = sorted({*floats, *(i for i, levels in bits.items() if levels != SIGNS)})
            bits = {i: levels for i, levels in bits.items() if levels == SIGNS}
        self._lower_to(emitter, kind, call, outputs, floats, bits)

    def _lower_to(
        self,
        emitter: Emitter,
        kind: str,
        call: relax.Call,
        outputs: list[relax.Var],
        floats: list[int],
        bits: dict[int, Levels],
    ) -> None:
        """Emit the kernel of a region that writes some outputs as numbers, some as bits."""
        function = self._mod[call.op]
        kernel, constants = self._build(kind, call.op, floats, bits)
        levels = read_levels(function)
        args = [emitter.remap(arg) for arg in call.args]
        if levels is not None:
            args[0] = self._bits_of(emitter, call.args[0], levels)
        types = [self._float_type(outputs[i]) for i in floats]
        types += [self._bits_type(outputs[i], levels) for i, levels in bits.items()]
        callee = self._share(emitter, kind, kernel.func, len(types))
        for layer in (LAYER, POOLED_LAYER):
            if layer in function.attrs:
                self.kernel_of_layer[str(function.attrs[layer])] = callee.name_hint
        operands = [
            args[source] if isinstance(source, int) else constant
            for source, constant in zip(kernel.operands, constants, strict=True)
        ]
        parts = _call_kernel(emitter, callee, operands, types, outputs[-1].name)
        for i, part in zip(floats, parts[: len(floats)], strict=True):
            emitter.replace(outputs[i], part)
        for i, part in zip(bits, parts[len(floats) :], strict=True):
            self._bits[outputs[i]] = part

    def _build(
        self, kind: str, region: GlobalVar, floats: list[int], bits: dict[int, Levels]
    ) -> _Built:
        """Build the kernel of a region, once for all calls that want the same of it."""
        wanted = (region, tuple(floats), tuple(bits.items()))
        if wanted not in self._built:
            kernel = build_region_kernel(self._mod[region], kind, floats, bits, self._target)
            constants = [None if isinstance(o, int) else relax.const(o) for o in kernel.operands]
            self._built[wanted] = _Built(kernel, constants)
        return self._built[wanted]

    def _bits_of(self, emitter: Emitter, var: relax.Var, levels: Levels) -> relax.Expr:
        """Return the bits of a variable, packed now if its region did not write them."""
        if var not in self._bits:
            self._bits[var] = self._pack(emitter, var, levels)
        return self._bits[var]

    def _pack(self, emitter: Emitter, var: relax.Var, levels: Levels) -> relax.Var:
        """Pack numbers that were moved as such, by a concatenation for example."""
        data = te.placeholder(shape_of(var), dtype_of(var), "numbers")
        words = pack_levels(data, shape_of(var), levels, self._target.word_bits)
        callee = self._share(emitter, BITPACK, te.create_prim_func([data, words]), 1)
        types = [self._bits_type(var, levels)]
        return _call_kernel(emitter, callee, [emitter.remap(var)], types, var.name)[0]

    def _unpack(self, emitter: Emitter, var: relax.Var) -> relax.Var:
        """Make numbers of signs that were computed as bits only."""
        packed = self._bits_type(var, SIGNS)
        words = te.placeholder([int(extent) for extent in packed.shape], str(packed.dtype), "words")
        numbers = bitunpack(words, shape_of(var)[-1])
        callee = self._share(emitter, BITUNPACK, te.create_prim_func([words, numbers]), 1)
        types = [self._float_type(var)]
        return _call_kernel(emitter, callee, [self._bits[var]], types, var.name)[0]

    def _share(
        self, emitter: Emitter, kind: str, func: tvm.tirx.PrimFunc, outputs: int
    ) -> GlobalVar:
        """Add a kernel to the module, or find the equal one that is there."""
        func = func.with_attrs({KERNEL: kind, NUM_OUTPUTS: outputs})
        alike = self._kernels.setdefault(tvm_ffi.structural_hash(func), [])
        for known, name in alike:
            if tvm_ffi.structural_equal(known, func):
                return name
        self._names[kind] += 1
        name = f"{kind}_{self._names[kind]}"
        alike.append((func, emitter.builder.add_func(func.with_attr("global_symbol", name), name)))
        return alike[-1][1]

    def _bits_type(self, var: relax.Var, levels: Levels) -> relax.TensorType:
        *outer, channels = shape_of(var)
        words = word_count(channels, self._target.word_bits) * levels.bits
        return relax.TensorType((*outer, words), word_dtype(self._target.word_bits))

    @staticmethod
    def _float_type(var: relax.Var) -> relax.TensorType:
        return relax.TensorType(shape_of(var), stored_dtype(var))


def _operand_count(call: relax.Call) -> int:
    """Count the tensors among the arguments of an operation that moves data."""
    return sum(is_tensor(arg) for arg in arguments(call))


def _call_kernel(
    emitter: Emitter,
    callee: GlobalVar,
    operands: list[relax.Expr],
    types: list[relax.TensorType],
    name: str,
) -> list[relax.Var]:
    """Emit a call of a kernel; return one variable for each of its results."""
    result = emitter.emit(relax.call_tir(callee, relax.Tuple(operands), types), name)
    if len(types) == 1:
        return [result]
    return [emitter.emit(relax.TupleGetItem(result, i), name) for i in range(len(types))]
