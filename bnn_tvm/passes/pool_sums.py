"""Pass: let the kernel of a layer on bits average its rows before they leave the cache.

Where a network halves its maps, an average pooling reads the numbers that the last layer before it
adds its shortcut to, and nothing else reads them but as signs: they are never in memory then.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.target import Target

from .dataflow import (
    Emitter,
    bindings_of,
    count_uses,
    main_bindings,
    op_name,
    rebuild_main,
    shape_of,
)
from .fuse_regions import region_kind
from .pool_stems import join_pooling
from .regions import BITSERIAL_CONV
from .windows import pool_window


class _Pair(NamedTuple):
    """A layer on bits, the variables of its results, and the pooling that alone reads one."""

    layer: relax.VarBinding
    results: list[relax.Var]
    pool: relax.VarBinding

    @property
    def pooled(self) -> int:
        """Which of the results it reads."""
        return self.results.index(self.pool.value.args[0])


def pool_sums(mod: IRModule, target: Target) -> IRModule:
    """Join layers on bits with the average poolings of what they compute; expects regions."""
    pairs = _find_pairs(mod, target.word_bits) if target.pools_sums else []
    by_layer = {pair.layer.var: pair for pair in pairs}
    gone = {var for pair in pairs for var in (*pair.results, pair.pool.var)}

    def write(emitter: Emitter) -> None:
        for binding in main_bindings(mod):
            if binding.var in by_layer:
                _emit_joined(mod, emitter, by_layer[binding.var])
            elif binding.var not in gone:
                emitter.rebind(binding.var, emitter.remap(binding.value))

    return rebuild_main(mod, write) if pairs else mod


def _find_pairs(mod: IRModule, word_bits: int) -> list[_Pair]:
    bindings, uses = main_bindings(mod), count_uses(mod)
    layers = {b.var: b for b in bindings if region_kind(mod, b.value) in BITSERIAL_CONV}
    results: dict[relax.Var, list[relax.Var]] = {}
    for binding in bindings:
        if isinstance(binding.value, relax.TupleGetItem):
            results.setdefault(binding.value.tuple_value, []).append(binding.var)
    owners = {var: layer for layer in layers for var in results.get(layer, [layer])}
    return [
        _Pair(layer, results.get(layer.var, [layer.var]), binding)
        for binding in bindings
        if region_kind(mod, binding.value) == "avg_pool2d"
        and (layer := layers.get(owners.get(binding.value.args[0]))) is not None
        and uses[binding.value.args[0]] == 1
        and _is_plain(mod, binding)
        and shape_of(binding.var)[-1] % word_bits == 0
    ]


def _is_plain(mod: IRModule, pool: relax.VarBinding) -> bool:
    """Tell whether windows lie side by side and fill the rows, and nothing follows the pooling.

    A window that is all of the data would leave threads one row to share.
    """
    bindings = bindings_of(mod[pool.value.op])
    calls = [binding.value for binding in bindings if op_name(binding.value)]
    if len(calls) != 1 or len(pool.value.args) != 1:
        return False
    window, extents = pool_window(calls[0]), shape_of(pool.value.args[0])[1:-1]
    counts = shape_of(pool.var)[1:-1]
    covered = tuple(math.prod(axis) for axis in zip(counts, window.strides, strict=True))
    side_by_side = window.kernel == window.strides == window.spans and not window.is_padded
    return side_by_side and covered == extents and counts[0] > 1


def _emit_joined(mod: IRModule, emitter: Emitter, pair: _Pair) -> None:
    call = join_pooling(mod, emitter, pair.layer.value, pair.pooled, pair.pool.value)
    old = [var for i, var in enumerate(pair.results) if i != pair.pooled]
    old.append(pair.pool.var)
    joined = emitter.emit(call, old[-1].name)
    for i, var in enumerate(old):
        is_only = len(old) == 1
        new = joined if is_only else emitter.emit(relax.TupleGetItem(joined, i), var.name)
        emitter.replace(var, new)
