"""Read and rebuild the one dataflow block of ``main``: what every pass here is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax
from tvm.ir import IRModule
from tvm.ir.expr import GenericConst as Constant

MAIN = "main"


def main_bindings(mod: IRModule) -> list[relax.VarBinding]:
    """List the bindings of ``main`` in order of execution."""
    return bindings_of(mod[MAIN])


def bindings_of(function: relax.Function) -> list[relax.VarBinding]:
    """List the bindings of a function in order of execution."""
    return [binding for block in function.body.blocks for binding in block.bindings]


def main_result(mod: IRModule) -> list[relax.Expr]:
    """List what ``main`` returns, as `results_of` does."""
    return results_of(mod[MAIN])


def results_of(function: relax.Function) -> list[relax.Expr]:
    """List what a function returns: one expression, or the fields of the returned tuple.

    The head is followed through the binding that a tuple result may have.
    """
    values = {binding.var: binding.value for binding in bindings_of(function)}
    result = function.body.body
    while isinstance(values.get(result), relax.Var | relax.Tuple | Constant):
        result = values[result]
    return list(result.fields) if isinstance(result, relax.Tuple) else [result]


def op_name(expr: Any) -> str:
    """Name the operator that a call applies, such as ``nn.conv2d``; '' for anything else."""
    is_op = isinstance(expr, relax.Call) and hasattr(expr.op, "name")
    return expr.op.name.removeprefix("relax.") if is_op else ""


def called_kernel(expr: Any) -> str:
    """Name the kernel that an expression calls; '' for anything else."""
    is_kernel = op_name(expr) in ("call_tir", "call_tir_inplace")
    return str(expr.args[0].name_hint) if is_kernel else ""


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """Read the static shape of a tensor expression."""
    return tuple(int(extent) for extent in expr.ty.shape)


def dtype_of(expr: relax.Expr) -> str:
    """Read the dtype of a tensor expression."""
    return str(expr.ty.dtype)


def stored_dtype(expr: relax.Expr) -> str:
    """Name the dtype that a tensor has in a kernel: a bfloat16 is stored as its bits."""
    dtype = dtype_of(expr)
    return "uint16" if dtype == "bfloat16" else dtype


def constant_of(expr: relax.Expr) -> Any:
    """Read a constant as an array; None for anything else."""
    return expr.value.numpy() if isinstance(expr, Constant) else None


def is_per_channel(array: np.ndarray) -> bool:
    """Tell whether an array is one number, or one a channel: (..., channels), the rest 1."""
    return array.ndim == 0 or array.size == array.shape[-1]


def is_tensor(expr: relax.Expr) -> bool:
    """Tell whether an expression is one tensor, not a shape, a number or a tuple."""
    return isinstance(expr.ty, relax.TensorType)


def number_of(expr: relax.Expr) -> float:
    """Read a number that an operator takes as an argument, such as a bound of clip."""
    return float(expr.value)


def arguments(call: relax.Call) -> list[relax.Expr]:
    """List a call's arguments with the fields of tuples in place."""
    return [
        field
        for arg in call.args
        for field in (arg.fields if isinstance(arg, relax.Tuple) else [arg])
    ]


def count_uses(mod: IRModule) -> Counter[relax.Var]:
    """Count how often each variable of ``main`` is read, its result included."""
    uses: Counter[relax.Var] = Counter(v for v in main_result(mod) if isinstance(v, relax.Var))
    for binding in main_bindings(mod):
        if isinstance(binding.value, relax.Call):
            uses.update(arg for arg in arguments(binding.value) if isinstance(arg, relax.Var))
    return uses


def count_calls(mod: IRModule) -> Counter[str]:
    """Count the calls of each kernel in ``main``, in order of the first."""
    names = [called_kernel(binding.value) for binding in main_bindings(mod)]
    return Counter(name for name in names if name)


class Emitter:
    """Writes new bindings and knows which new expression stands for which old variable.

    Attributes
    ----------
    builder : relax.BlockBuilder
        Where bindings are written to.
    """

    def __init__(self, builder: relax.BlockBuilder, old_uses: Counter[relax.Var] | None = None):
        self.builder = builder
        self._old_uses = old_uses or Counter()
        self._uses: Counter[relax.Expr] = Counter()
        self._new: dict[relax.Var, relax.Expr] = {}
        self._value: dict[relax.Var, relax.Expr] = {}

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        """Bind a value to a new variable of that name.

        Names need not be unique: a layer keeps its node's name whatever replaces it.
        """
        value = self.builder.normalize(value)
        var = relax.DataflowVar(name, value.ty)
        self.builder.emit_normalized(relax.VarBinding(var, value))
        self._value[var] = value
        return var

    def value(self, expr: relax.Expr) -> Any:
        """Look up the call that a variable holds; None for parameters and constants."""
        return self._value.get(expr) if isinstance(expr, relax.Var) else None

    def replace(self, old: relax.Var, new: relax.Expr) -> None:
        """Make later uses of an old variable read the new expression."""
        self._new[old] = new
        if isinstance(new, relax.Var):
            self._uses[new] += self._old_uses[old]

    def rebind(self, old: relax.Var, value: relax.Expr) -> None:
        """Make later uses of an old variable read a value: bind it unless it is a variable."""
        is_alias = isinstance(value, relax.Var)
        self.replace(old, value if is_alias else self.emit(value, old.name))

    def uses(self, var: relax.Var) -> int:
        """Count how often the old ``main`` reads what this new variable replaces."""
        return self._uses[var]

    def remap(self, expr: relax.Expr) -> relax.Expr:
        """Rewrite an old expression in terms of new variables."""
        if isinstance(expr, relax.Var):
            return self._new.get(expr, expr)
        if isinstance(expr, relax.Tuple):
            return relax.Tuple([self.remap(field) for field in expr.fields])
        if isinstance(expr, relax.TupleGetItem):
            return relax.TupleGetItem(self.remap(expr.tuple_value), expr.index)
        if isinstance(expr, relax.Call):
            args = [self.remap(arg) for arg in expr.args]
            return relax.Call(expr.op, args, expr.attrs, expr.ty_args)
        return expr


def build_function(
    builder: relax.BlockBuilder,
    name: str,
    params: list[relax.Var],
    write: Callable[[], list[relax.Expr]],
) -> None:
    """Add a function of one dataflow block; ``write`` emits its bindings and lists its results."""
    with builder.function(name, params):
        with builder.dataflow():
            results = write()
            output = builder.emit_output(results[0] if len(results) == 1 else relax.Tuple(results))
        builder.emit_func_output(output)


def rebuild_main(
    mod: IRModule,
    write: Callable[[Emitter], None],
    finish: Callable[[Emitter, relax.Expr], relax.Expr] = Emitter.remap,
    more: Sequence[relax.Expr] = (),
) -> IRModule:
    """Build ``main`` anew, then drop what nothing reads.

    Parameters
    ----------
    mod : IRModule
        Its ``main`` is replaced; its other functions stay.
    write : callable
        Emits the new bindings and tells the emitter what replaces each old variable.
    finish : callable, optional
        Maps each old result to a new one.
    more : sequence of relax.Expr, optional
        Old expressions to return behind the results.
    """
    rest = {gvar: func for gvar, func in mod.functions.items() if gvar.name_hint != MAIN}
    emitter = Emitter(relax.BlockBuilder(IRModule(rest)), count_uses(mod))

    def body() -> list[relax.Expr]:
        write(emitter)
        results = [finish(emitter, head) for head in main_result(mod)]
        return results + [emitter.remap(expr) for expr in more]

    build_function(emitter.builder, MAIN, list(mod[MAIN].params), body)
    return relax.transform.DeadCodeElimination()(emitter.builder.finalize())


Rule = Callable[[Emitter, relax.Call, str], relax.Expr | None]


def rewrite_calls(mod: IRModule, rule: Rule) -> IRModule:
    """Apply a local rewrite to every call of ``main``.

    The rule gets the emitter, the call with its arguments already rewritten, and the name of
    the variable it was bound to. It returns what to use instead (an expression that is not yet
    bound, a variable or a constant), or None to keep the call.
    """

    def visit(emitter: Emitter, binding: relax.VarBinding) -> relax.Expr:
        value = emitter.remap(binding.value)
        name = binding.var.name
        if isinstance(value, relax.Call):
            new = rule(emitter, value, name)
            value = value if new is None else new
        return value if isinstance(value, relax.Var | Constant) else emitter.emit(value, name)

    return rebuild_main(mod, lambda emitter: visit_bindings(mod, emitter, visit))


def visit_bindings(
    mod: IRModule,
    emitter: Emitter,
    visit: Callable[[Emitter, relax.VarBinding], relax.Expr],
) -> None:
    """Replace the variable of every binding of ``main``, in order, by what ``visit`` returns."""
    for binding in main_bindings(mod):
        emitter.replace(binding.var, visit(emitter, binding))
