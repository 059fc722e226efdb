"""Pass: let the caller lend the memory that results are written to.

A CUDA graph replays addresses. Once inputs and results lie where they lay when it was recorded,
it can hold all kernels of a network, those that read the one and write the other too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tvm import relax
from tvm.ir import IRModule

from .dataflow import MAIN, bindings_of, op_name, results_of, shape_of

# How TVM's pass for CUDA graphs knows how many parameters may lie elsewhere in the next call.
_MOVING_PARAMETERS = "num_input"


def lend_outputs(mod: IRModule) -> IRModule:
    """Give ``main`` a parameter for the memory of each result, behind the inputs.

    Expects memory to be planned, and what is returned to be allocated in each call. Results are
    returned as before: where they are written by a kernel, that is in the memory of a parameter.
    All parameters are said to lie at the same addresses in each call.
    """
    main = mod[MAIN]
    results = results_of(main)
    values = {binding.var: binding.value for binding in bindings_of(main)}
    memory: dict[relax.Var, relax.Expr] = {}
    lent = []
    for index, result in enumerate(results):
        lent.append(relax.Var(f"result_{index}", result.ty))
        root = _find_root(result, values)
        if op_name(values.get(root)) == "builtin.alloc_tensor":
            memory.setdefault(root, _view(lent[-1], root))
    builder = relax.BlockBuilder()
    with builder.function(MAIN, [*main.params, *lent], attrs=dict(main.attrs)):
        for binding in bindings_of(main):
            value = builder.normalize(memory.get(binding.var, binding.value))
            builder.emit_normalized(relax.VarBinding(binding.var, value))
        returned = [builder.emit(_outside_of_graph(result)) for result in results]
        builder.emit_func_output(returned[0] if len(returned) == 1 else relax.Tuple(returned))
    mod = IRModule(dict(mod.functions))
    mod[MAIN] = builder.finalize()[MAIN].with_attr(_MOVING_PARAMETERS, 0)
    return mod


def _find_root(result: relax.Expr, values: Mapping[relax.Var, Any]) -> relax.Expr:
    """Follow a tensor through its names and shapes to what holds its memory."""
    value: Any = values.get(result)
    if isinstance(value, relax.Var):
        return _find_root(value, values)
    if op_name(value) == "reshape":
        return _find_root(value.args[0], values)
    if isinstance(value, relax.TupleGetItem):
        return _find_root(values[value.tuple_value].fields[value.index], values)
    return result


def _view(memory: relax.Expr, wanted: relax.Expr) -> relax.Expr:
    """Look at memory in the shape of another tensor."""
    is_same = shape_of(memory) == shape_of(wanted)
    return memory if is_same else relax.op.reshape(memory, wanted.ty.shape)


def _outside_of_graph(result: relax.Expr) -> relax.Expr:
    """Look at a result by a call that is not captured: what only the graph knows has no value."""
    view = relax.ExternFunc("vm.builtin.reshape")
    return relax.Call(view, [result, result.ty.shape], ty_args=[result.ty])
