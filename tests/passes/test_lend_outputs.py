"""One CUDA graph from inputs to results: with functions in TVM's place that record and replay."""

from __future__ import annotations

import pytest
import tvm
from cuda_graph_harness import RUN_OR_CAPTURE, compile_as_graph, graphs_here, launches
from relax_harness import TARGETS, assert_same, lower, module, random_floats, random_signs, run
from tvm import relax
from tvm.ir import IRModule

from bnn_tvm.build import schedule_module
from bnn_tvm.target import get_target

op = relax.op
SHAPE = (2, 32, 6, 6)


def layers(g, x):
    y = g.conv(x, random_floats(0, 32, 32, 3, 3) / 10, padding=1)
    bits = g.conv(g.sign(y), random_signs(1, 32, 32, 3, 3), padding=1)
    return g.affine(bits, random_signs(2, 32) / 8, random_signs(3, 32) / 4)


def one(g, x):
    return layers(g, x)


def several(g, x):
    y = layers(g, x)
    return [y, g(op.nn.relu(y)), g(op.nn.max_pool2d(y, (2, 2), (2, 2)))]


def reshaped(g, x):
    return g(op.reshape(layers(g, x), (2, 32 * 36)))


def in_two_shapes(g, x):
    y = layers(g, x)
    return [y, g(op.reshape(y, (2, 32 * 36)))]


def twice(g, x):
    y = layers(g, x)
    return [y, y]


def with_the_input(g, x):
    return [g(op.reshape(x, (2, 32 * 36))), layers(g, x), x]


def with_a_constant(g, x):
    return [relax.const(random_floats(5, 3)), layers(g, x)]


def only_reshaped(g, x):
    return g(op.reshape(x, (2, 32 * 36)))


BODIES = [one, several, reshaped, in_two_shapes, twice, with_the_input, with_a_constant]


def scheduled(body) -> IRModule:
    return schedule_module(lower(module(body, SHAPE)), get_target(TARGETS[0])).mod


@pytest.mark.parametrize("body", BODIES)
def test_all_kernels_are_in_one_graph(body):
    assert launches(scheduled(body)) == [RUN_OR_CAPTURE]


def test_nothing_is_recorded_where_there_is_no_kernel():
    assert launches(scheduled(only_reshaped)) == []


@pytest.mark.parametrize("body", [several, in_two_shapes, twice, with_the_input, only_reshaped])
def test_a_replayed_graph_reads_new_inputs_and_gives_new_results(body):
    before = scheduled(body)
    executable = compile_as_graph(before, TARGETS[0])
    x = tvm.runtime.empty(SHAPE, "float32")
    memory = None
    with graphs_here() as graphs:
        main = relax.VirtualMachine(executable, tvm.cpu())["main"]
        for seed in range(3):
            array = random_floats(seed, *SHAPE)
            expected = run(before, [array], TARGETS[0])
            memory = memory or [tvm.runtime.empty(y.shape, "float32") for y in expected]
            x.copyfrom(array)
            results = main(x, *memory)
            results = list(results) if isinstance(results, tvm.ir.Array) else [results]
            assert_same(expected, [result.numpy() for result in results])
    assert len(graphs.recorded) == (body is not only_reshaped)
