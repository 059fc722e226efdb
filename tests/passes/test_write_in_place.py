"""Kernels that write over what they read last."""

from __future__ import annotations

import numpy as np
import pytest
from relax_harness import (
    COUNTING_TARGETS,
    TARGETS,
    assert_same,
    lower,
    module,
    operators,
    random_floats,
    random_signs,
    run,
)
from tvm import relax, te
from tvm.ir import IRModule

from bnn_tvm.build import schedule_module
from bnn_tvm.kernels.stages import NUM_OUTPUTS
from bnn_tvm.passes.dataflow import Emitter, build_function, called_kernel, main_bindings
from bnn_tvm.passes.write_in_place import write_in_place
from bnn_tvm.target import get_target

op = relax.op
SHAPE = (2, 32, 6, 6)


def stem(g, x):
    return g.conv(x, random_floats(0, 32, 32, 3, 3) / 10, padding=1)


def branch(g, x, seed):
    """Count on whole numbers, so that all targets give the same."""
    bits = g.conv(g.sign(x), random_signs(seed, 32, 32, 3, 3), padding=1)
    return g.affine(bits, random_signs(seed + 1, 32) / 8, random_signs(seed + 2, 32) / 4)


def residual(g, x, blocks=3):
    y = stem(g, x)
    for seed in range(blocks):
        y = g(op.add(y, branch(g, y, seed)))
    return y


def of_the_input(g, x):
    """The input belongs to the caller."""
    flat = g(op.reshape(x, (2, 32 * 36)))
    return g(op.add(flat, g.dense(g.sign(flat), random_signs(0, 32 * 36, 32 * 36))))


def returned(g, x):
    y = stem(g, x)
    return [g(op.add(y, branch(g, y, 0))), y]


def read_later(g, x):
    y = stem(g, x)
    z = g(op.add(y, branch(g, y, 0)))
    return g.conv(y, random_floats(5, 32, 32, 3, 3), strides=2), z


def reshaped(g, x):
    """A reshape gives a second name to the memory of what it reads."""
    y = stem(g, x)
    z = g(op.add(y, branch(g, y, 0)))
    return g(op.reshape(y, (2, 32 * 36))), z


def scheduled(mod, target=TARGETS[0]) -> IRModule:
    return schedule_module(lower(mod, target), get_target(target)).mod


def compiled(mod, target=TARGETS[0]) -> IRModule:
    return write_in_place(scheduled(mod, target))


def in_place(mod) -> list[str]:
    """Name the kernels that are called to write over an operand."""
    calls = [b.value for b in main_bindings(mod) if called_kernel(b.value)]
    return [called_kernel(c) for c in calls if c.op.name == "relax.call_tir_inplace"]


@pytest.mark.parametrize("target", COUNTING_TARGETS)
def test_residual_layers_write_over_their_shortcut(target):
    mod = module(residual, SHAPE)
    found = compiled(mod, target)
    assert in_place(found) == ["bitserial_conv2d_1"] * 2 + ["bitserial_conv2d_2"]
    x = [random_floats(9, *SHAPE)]
    assert_same(run(mod, x), run(found, x, target), atol=1e-5)


def test_a_kernel_that_writes_in_place_has_one_parameter_less():
    mod = module(residual, SHAPE)
    before, after = scheduled(mod), compiled(mod)
    for name in set(in_place(after)):
        assert len(after[name].params) == len(before[name].params) - 1
        assert after[name].attrs[NUM_OUTPUTS] == before[name].attrs[NUM_OUTPUTS]


@pytest.mark.parametrize("body", [of_the_input, returned, read_later, reshaped])
def test_what_is_still_needed_is_not_written_over(body):
    mod = module(body, SHAPE)
    found = compiled(mod)
    assert in_place(found) == []
    x = [random_floats(9, *SHAPE)]
    assert_same(run(mod, x), run(found, x, TARGETS[0]), atol=1e-4)


def test_a_kernel_with_one_call_that_may_not_writes_elsewhere_in_all():
    """Layers of equal code share a kernel; the shortcut of the second one is returned."""

    def body(g, x):
        y = stem(g, x)
        z = g(op.add(y, branch(g, y, 0)))
        return [g.sign(g(op.add(z, branch(g, z, 3)))), z]

    mod = module(body, SHAPE)
    found = compiled(mod)
    assert "call_tir" in operators(found)
    x = [random_floats(9, *SHAPE)]
    signs, z = run(found, x, TARGETS[0])
    assert_same(run(mod, x)[1:], [z], atol=1e-4)
    assert np.isin(signs, (-1, 1)).all()


def test_the_order_of_memory_is_kept_where_results_alternate():
    """Two shortcuts live at once: neither may take the other's place."""

    def body(g, x):
        y, z = stem(g, x), g.conv(x, random_floats(7, 32, 32, 3, 3) / 10, padding=1)
        for seed in range(3):
            y, z = g(op.add(z, branch(g, y, seed))), g(op.add(y, branch(g, z, seed + 10)))
        return [y, z]

    mod = module(body, SHAPE)
    found = compiled(mod)
    x = [random_floats(9, *SHAPE)]
    assert_same(run(mod, x), run(found, x, TARGETS[0]), atol=1e-4)


def kernel_of(name, x, outputs):
    attrs = {NUM_OUTPUTS: len(outputs), "global_symbol": name}
    return te.create_prim_func([x, *outputs]).with_attrs(attrs)


def two_kernels(compute) -> IRModule:
    """Call a kernel with two results on the numbers that another one computed."""
    x = te.placeholder((8,), "float32", "x")
    ty = relax.TensorType((8,), "float32")
    builder = relax.BlockBuilder()
    first = builder.add_func(kernel_of("first", x, [te.compute((8,), lambda i: x[i] + 1)]), "first")
    second = builder.add_func(kernel_of("second", x, compute(x)), "second")
    param = relax.Var("x", ty)

    def write():
        emitter = Emitter(builder)
        y = emitter.emit(relax.call_tir(first, [param], ty), "y")
        z = emitter.emit(relax.call_tir(second, [y], [ty, ty]), "z")
        return [emitter.emit(relax.TupleGetItem(z, i), "z") for i in range(2)]

    build_function(builder, "main", [param], write)
    return builder.finalize()


def scaled(x):
    y = te.compute((8,), lambda i: x[i] * 2 + x[i])
    return [y, te.compute((8,), lambda i: y[i] + 1)]


def turned(x):
    y = te.compute((8,), lambda i: x[7 - i])
    return [y, te.compute((8,), lambda i: y[i] + 1)]


def read_for_both(x):
    return [te.compute((8,), lambda i: x[i] * 2), te.compute((8,), lambda i: x[i] + 3)]


def summed(x):
    axis = te.reduce_axis((0, 8))
    y = te.compute((8,), lambda i: te.sum(x[i] * axis, axis))
    return [y, te.compute((8,), lambda i: y[i] + 1)]


@pytest.mark.parametrize(
    ("compute", "fits"),
    [(scaled, True), (turned, False), (read_for_both, False), (summed, False)],
)
def test_each_element_is_read_to_compute_the_one_in_its_place(compute, fits):
    before = two_kernels(compute)
    after = write_in_place(before)
    assert in_place(after) == (["second"] if fits else [])
    x = [np.arange(8, dtype=np.float32)]
    assert_same(run(before, x), run(after, x))
