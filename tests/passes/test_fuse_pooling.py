"""Pass: kernels pool what they compute; the same numbers from fewer kernels."""

from __future__ import annotations

import pytest
from relax_harness import assert_same, kernel_kinds, lower, module, random_floats, random_signs, run
from tvm import relax

from bnn_tvm.build import schedule_module
from bnn_tvm.passes.fuse_pooling import MERGED_KERNELS, fuse_pooling
from bnn_tvm.passes.lower_regions import KERNEL_OF_LAYER
from bnn_tvm.target import get_target

TARGET = "x86-64"
SHAPE = (2, 3, 13, 13)
op = relax.op


def network(pool, **options):
    def body(g, x):
        y = g.conv(x, random_floats(1, 32, 3, 3, 3), name="conv")
        y = g.affine(g(pool(y, (2, 2), **options)), random_floats(3, 32), random_floats(4, 32))
        return g.conv(g.sign(y), random_signs(2, 8, 32, 2, 2))

    return body


def run_scheduled(mod, arrays):
    target = get_target(TARGET)
    return run(schedule_module(mod, target).mod, arrays, TARGET)


@pytest.mark.parametrize("pool", [op.nn.max_pool2d, op.nn.avg_pool2d])
def test_a_convolution_and_its_pooling_become_one_kernel(pool):
    before = lower(module(network(pool, strides=(2, 2)), SHAPE), TARGET)
    after = fuse_pooling(before)
    assert kernel_kinds(before) == sorted(["bitserial_conv2d", "conv2d", pool.__name__])
    assert kernel_kinds(after) == ["bitserial_conv2d", "conv2d"]
    merged = {str(k): str(v) for k, v in after.attrs[MERGED_KERNELS].items()}
    assert len(merged) == 2 and len(set(merged.values())) == 1
    kernels = {g.name_hint for g in after.functions}
    assert set(map(str, after.attrs[KERNEL_OF_LAYER].values())) <= kernels
    x = [random_floats(0, *SHAPE)]
    assert_same(run_scheduled(before, x), run_scheduled(after, x))


def test_windows_that_overlap_are_left_alone():
    before = lower(module(network(op.nn.max_pool2d, strides=(1, 1)), SHAPE), TARGET)
    assert kernel_kinds(fuse_pooling(before)) == kernel_kinds(before)


def test_a_convolution_that_something_else_reads_is_left_alone():
    def body(g, x):
        y = g.conv(x, random_floats(1, 32, 3, 3, 3))
        return [y, g(op.nn.max_pool2d(y, (2, 2), (2, 2)))]

    before = lower(module(body, SHAPE), TARGET)
    assert kernel_kinds(fuse_pooling(before)) == kernel_kinds(before)


def test_kernels_that_layers_share_are_left_alone():
    def body(g, x):
        weight = random_floats(1, 3, 3, 3, 3)
        heads = [g.conv(g(op.add(x, relax.const(float(i)))), weight) for i in range(2)]
        return [g(op.nn.max_pool2d(head, (2, 2), (2, 2))) for head in heads]

    before = lower(module(body, SHAPE), TARGET)
    assert kernel_kinds(fuse_pooling(before)) == kernel_kinds(before)
