"""Pass: outline each region as a private function that still computes in float.

Such a function carries ``Composite``, the kind of its region, ``bnn.layer``, the name of its
anchor, and the levels of its data if it will read them as bits. Its body is the float graph; only
`lower_regions` replaces it by a kernel.
"""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax
from tvm.ir import GlobalVar, IRModule

from .dataflow import Emitter, build_function, main_result, rebuild_main
from .levels import Levels
from .regions import OTHER, Region, divide_into_regions

COMPOSITE = "Composite"
LAYER = "bnn.layer"
DATA_BITS = "bnn.data_bits"
DATA_SIGNED = "bnn.data_signed"
PREFIX = "bnn."


def fuse_regions(mod: IRModule) -> IRModule:
    """Make every region of ``main`` a call of a private function; expects NHWC data."""
    regions = divide_into_regions(mod)
    heads = {head for head in main_result(mod) if isinstance(head, relax.Var)}

    def write(emitter: Emitter) -> None:
        for region in regions:
            outputs = _outputs(region, regions, heads)
            if region.kind == OTHER:
                _keep(emitter, region)
            elif outputs:
                _outline(emitter, region, outputs)

    return rebuild_main(mod, write)


def _outputs(region: Region, regions: Iterable[Region], heads: set[relax.Var]) -> list[relax.Var]:
    """List the variables of a region that another region or the result of ``main`` reads."""
    read = {var for other in regions if other is not region for var in other.inputs()} | heads
    return [binding.var for binding in region.bindings if binding.var in read]


def _keep(emitter: Emitter, region: Region) -> None:
    for binding in region.bindings:
        value = emitter.remap(binding.value)
        emitter.replace(binding.var, emitter.emit(value, binding.var.name))


def _outline(emitter: Emitter, region: Region, outputs: list[relax.Var]) -> None:
    inputs = region.inputs()
    function = _region_function(region, inputs, outputs)
    callee = emitter.builder.add_func(function, f"{region.kind}_{region.anchor.name}")
    call = relax.Call(callee, [emitter.remap(var) for var in inputs])
    result = emitter.emit(call, outputs[-1].name)
    if len(outputs) == 1:
        emitter.replace(outputs[0], result)
        return
    for index, var in enumerate(outputs):
        field = emitter.emit(relax.TupleGetItem(result, index), var.name)
        emitter.replace(var, field)


def _region_function(
    region: Region, inputs: list[relax.Var], outputs: list[relax.Var]
) -> relax.Function:
    builder = relax.BlockBuilder()
    emitter = Emitter(builder)
    params = [relax.Var(var.name, var.ty) for var in inputs]
    for var, param in zip(inputs, params, strict=True):
        emitter.replace(var, param)

    def body() -> list[relax.Expr]:
        _keep(emitter, region)
        return [emitter.remap(var) for var in outputs]

    build_function(builder, "region", params, body)
    function = builder.finalize()["region"].without_attr("global_symbol")
    attrs: dict[str, str | int] = {COMPOSITE: PREFIX + region.kind, LAYER: region.anchor.name}
    if region.levels is not None:
        attrs |= {DATA_BITS: region.levels.bits, DATA_SIGNED: int(region.levels.signed)}
    return function.with_attrs(attrs)


def read_levels(function: relax.Function) -> Levels | None:
    """Read the levels of a region's data; None if the region does not read it as bits."""
    if DATA_BITS not in function.attrs:
        return None
    return Levels(int(function.attrs[DATA_BITS]), bool(int(function.attrs[DATA_SIGNED])))


def region_kind(mod: IRModule, call: relax.Expr) -> str:
    """Name the kind of region that a call in ``main`` runs; '' if it runs none."""
    if not (isinstance(call, relax.Call) and isinstance(call.op, GlobalVar)):
        return ""
    attrs = mod[call.op].attrs
    return str(attrs[COMPOSITE]).removeprefix(PREFIX) if COMPOSITE in attrs else ""
