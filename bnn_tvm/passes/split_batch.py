"""Pass: run a batch a few images at a time, where the activations of all do not fit the cache.

The dense layers at the end still run once, for all images: their weights are read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from tvm import relax
from tvm.ir import GlobalVar, IRModule

from .batch import batch_of
from .dataflow import (
    MAIN,
    Emitter,
    arguments,
    bindings_of,
    build_function,
    dtype_of,
    main_bindings,
    main_result,
    op_name,
    rebuild_main,
    results_of,
    shape_of,
)
from .fuse_regions import region_kind
from .keep_rows import keeps_rows
from .regions import BITSERIAL_DENSE, DENSE, DOT_LAYERS

_DENSE = (DENSE, BITSERIAL_DENSE, *(kind for kind in DOT_LAYERS if kind.startswith(DENSE)))


def split_batch(mod: IRModule, images: int) -> IRModule:
    """Run all but the dense layers at the end with so many images at a time; expects regions.

    A network is left as it is if anything in it is not proven to keep images apart.

    Parameters
    ----------
    mod : IRModule
    images : int
        A divisor of the batch.
    """
    batch = batch_of(mod)
    network = _Network(mod, batch)
    if images == batch or not network.keeps_images_apart or not network.front:
        return mod
    return rebuild_main(mod, lambda emitter: _Splitter(network, emitter, images).write())


@dataclass
class _Network:
    """What depends on what in ``main``."""

    mod: IRModule
    batch: int

    @cached_property
    def keeps_images_apart(self) -> bool:
        """Tell whether every binding computes row i of its results from rows i."""
        params = self.mod[MAIN].params
        return _keep_rows(self.mod, set(params), main_bindings(self.mod))

    @cached_property
    def front(self) -> list[relax.VarBinding]:
        """List the bindings before the dense layers at the end, in order of execution."""
        behind = {binding.var for binding in self.back}
        return [binding for binding in main_bindings(self.mod) if binding.var not in behind]

    @cached_property
    def back(self) -> list[relax.VarBinding]:
        """List the dense layers at the end with all that follows them."""
        flat, behind = self._flat(), dict[relax.Var, relax.VarBinding]()
        for binding in main_bindings(self.mod):
            is_dense = region_kind(self.mod, binding.value) in _DENSE
            if binding.var in flat and (is_dense or behind.keys() & set(_read(binding.value))):
                behind[binding.var] = binding
        return list(behind.values())

    def _flat(self) -> set[relax.Var]:
        """Find the variables that are matrices, as is all that is computed of them."""
        pictures: set[relax.Var] = set()
        for binding in reversed(main_bindings(self.mod)):
            if binding.var in pictures or not _is_matrix(binding.var.ty):
                pictures |= {binding.var, *_read(binding.value)}
        return {binding.var for binding in main_bindings(self.mod)} - pictures

    @cached_property
    def crossing(self) -> list[relax.Var]:
        """List what the front computes and the dense layers or the caller read."""
        read = {var for b in self.back for var in _read(b.value)} | set(main_result(self.mod))
        return [binding.var for binding in self.front if binding.var in read]


def _is_matrix(ty: relax.Type) -> bool:
    types = ty.fields if isinstance(ty, relax.TupleType) else [ty]
    return all(len(part.shape) == 2 for part in types)


def _read(value: relax.Expr) -> list[relax.Var]:
    """List the variables that a binding reads."""
    if isinstance(value, relax.TupleGetItem):
        return _read(value.tuple_value)
    operands = arguments(value) if isinstance(value, relax.Call) else [value]
    fields = [f for o in operands for f in (o.fields if isinstance(o, relax.Tuple) else [o])]
    return [f for f in fields if isinstance(f, relax.Var)]


def _keep_rows(
    mod: IRModule, batched: set[relax.Var], bindings: Iterable[relax.VarBinding]
) -> bool:
    """Tell whether bindings keep rows apart; add what they compute to what has rows."""
    for binding in bindings:
        value = binding.value
        if isinstance(value, relax.Call) and not _call_keeps_rows(mod, value, batched):
            return False
        if not batched >= set(_read(value)):
            return False
        batched.add(binding.var)
    return True


def _call_keeps_rows(mod: IRModule, call: relax.Call, batched: set[relax.Var]) -> bool:
    if not region_kind(mod, call):
        return keeps_rows(call, batched.__contains__)
    function = mod[call.op]
    pairs = zip(function.params, call.args, strict=True)
    rows = {param for param, arg in pairs if arg in batched}
    return _keep_rows(mod, rows, bindings_of(function))


class _Splitter:
    """Writes the network again, its front once for each part of the batch."""

    def __init__(self, network: _Network, emitter: Emitter, images: int):
        self._network = network
        self._emitter = emitter
        self._images = images
        self._callees: dict[GlobalVar, GlobalVar] = {}

    def write(self) -> None:
        """Emit the parts, then what follows with all that they give."""
        network, emitter = self._network, self._emitter
        parts = [self._part(first) for first in range(0, network.batch, self._images)]
        for var in network.crossing:
            joined = relax.op.concat([part.remap(var) for part in parts], axis=0)
            emitter.replace(var, emitter.emit(joined, var.name))
        for binding in network.back:
            _rewrite(binding, emitter, emitter.remap)

    def _part(self, first: int) -> Emitter:
        """Emit the front for the images from one on; return what knows its variables."""
        part = Emitter(self._emitter.builder)
        images = relax.const(np.arange(first, first + self._images, dtype=np.int32))
        for param in self._network.mod[MAIN].params:
            # What may read past the end does so where kernels are timed on random operands.
            taken = relax.op.take(param, images, axis=0, mode="clip")
            part.replace(param, part.emit(taken, param.name))
        self._rewrite(self._network.front, part)
        return part

    def _rewrite(self, bindings: Iterable[relax.VarBinding], emitter: Emitter) -> None:
        for binding in bindings:
            _rewrite(binding, emitter, lambda value: self._resize(value, emitter))

    def _resize(self, value: relax.Expr, emitter: Emitter) -> relax.Expr:
        """Rewrite an expression for the images of a part; TVM infers the types."""
        new = emitter.remap(value)
        if op_name(value) == "reshape":
            return relax.op.reshape(new.args[0], (self._images, *shape_of(value)[1:]))
        if isinstance(new, relax.Call) and isinstance(new.op, GlobalVar):
            return relax.Call(self._callee(new.op), new.args)
        return new

    def _callee(self, region: GlobalVar) -> GlobalVar:
        if region not in self._callees:
            function = self._resize_function(self._network.mod[region])
            name = f"{region.name_hint}_of_{self._images}"
            self._callees[region] = self._emitter.builder.add_func(function, name)
        return self._callees[region]

    def _resize_function(self, function: relax.Function) -> relax.Function:
        emitter = Emitter(relax.BlockBuilder())
        params = [
            relax.Var(p.name, relax.TensorType((self._images, *shape_of(p)[1:]), dtype_of(p)))
            for p in function.params
        ]
        for old, new in zip(function.params, params, strict=True):
            emitter.replace(old, new)

        def body() -> list[relax.Expr]:
            self._rewrite(bindings_of(function), emitter)
            return [emitter.remap(result) for result in results_of(function)]

        build_function(emitter.builder, "region", params, body)
        resized = emitter.builder.finalize()["region"].without_attr("global_symbol")
        return resized.with_attrs(dict(function.attrs.items()))


def _rewrite(
    binding: relax.VarBinding, emitter: Emitter, change: Callable[[relax.Expr], relax.Expr]
) -> None:
    """Emit a binding, changed; names of other variables need no binding of their own."""
    value = change(binding.value)
    is_computed = isinstance(value, relax.Call | relax.TupleGetItem)
    new = emitter.emit(value, binding.var.name) if is_computed else value
    emitter.replace(binding.var, new)
