"""Find what the outputs of a region have in common, to compute it once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tvm import relax

from .dataflow import arguments, op_name
from .evaluate import is_elementwise

_BEFORE_ANCHOR = ("nn.pad", "reshape")


def find_common(
    params: Sequence[relax.Var], bindings: Sequence[relax.VarBinding], outputs: Iterable[relax.Var]
) -> relax.Var | None:
    """Find the last value through which alone all outputs depend on the region's root.

    Parameters
    ----------
    params : sequence of relax.Var
        Tensors that the region reads.
    bindings : sequence of relax.VarBinding
        Of the region, in order of execution.
    outputs : iterable of relax.Var
        Among the bindings.

    Returns
    -------
    relax.Var or None
        Where the root, a layer or a pooling, or the data of an elementwise region, is one value,
        at least that; else None.
    """
    values = {binding.var: binding.value for binding in bindings}
    anchors = {var for var, value in values.items() if _is_anchor(value)}
    roots = anchors or set(params)
    wanted = list(outputs)
    for var in reversed([*params, *values]):
        if not (roots & _reached(values, wanted, var)) - {var}:
            return var
    return None


def _is_anchor(value: relax.Expr) -> bool:
    """Tell whether a call is neither elementwise nor what a layer absorbs before itself."""
    is_call = isinstance(value, relax.Call)
    return is_call and not is_elementwise(value) and op_name(value) not in _BEFORE_ANCHOR


def _reached(
    values: dict[relax.Var, relax.Expr], outputs: list[relax.Var], stop: relax.Var
) -> set[relax.Var]:
    """Collect what outputs are computed from, not looking past one value."""
    seen: set[relax.Var] = set()
    pending = list(outputs)
    while pending:
        var = pending.pop()
        if var in seen:
            continue
        seen.add(var)
        value = values.get(var)
        if not var.same_as(stop) and isinstance(value, relax.Call):
            pending += [arg for arg in arguments(value) if isinstance(arg, relax.Var)]
    return seen
