"""Makes kernels of layers as they are lowered for GPUs, not scheduled."""

from __future__ import annotations

import numpy as np
from relax_harness import lower, module, random_floats, random_signs
from tvm import relax, te, tirx

from bnn_tvm.kernels.gemm import conv_windows, count_disagreements, plan_gemm
from bnn_tvm.kernels.geometry import Window
from bnn_tvm.kernels.stages import KERNEL, NUM_OUTPUTS, RESULT, WEIGHT
from bnn_tvm.package.precision import TF32
from bnn_tvm.passes.float_layers import float_layers
from bnn_tvm.passes.fuse_regions import fuse_regions
from bnn_tvm.passes.lower_regions import lower_regions
from bnn_tvm.passes.pipeline import FLOAT_PASSES
from bnn_tvm.passes.round_layers import round_layers
from bnn_tvm.passes.round_to_tf32 import round_to_tf32
from bnn_tvm.target import get_target

AND, XOR = "sm_80", "sm_75"
"""Targets whose tensor cores count bits in these forms."""


def kernels(body, *shapes, target=AND, kind="bitserial"):
    lowered = lower(module(body, *shapes), target)
    functions = [f for f in lowered.functions.values() if isinstance(f, tirx.PrimFunc)]
    return [f for f in functions if str(f.attrs[KERNEL]).startswith(kind)]


def layer_kernels(batch, channels, outputs, size, options, target):
    """A convolution with a shortcut and both outputs, and the one that reads its signs."""
    height, width = size
    kernel, stride, pad = (options.get(k, d) for k, d in (("kernel", 3), ("stride", 1), ("pad", 1)))
    positions = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
    shortcut = (batch, outputs, *positions)

    def body(g, x, y):
        # Of a layer, so that it is there as channels-last when this one is fused.
        shortcut = g.conv(y, random_floats(6, outputs, outputs, 1, 1))
        bits = g.sign(x)
        padded = g.pad(bits, pad, options.get("pad_value", -1.0)) if pad else bits
        weight = random_signs(2, outputs, channels, kernel, kernel)
        dot = g.conv(padded, weight, strides=(stride, stride))
        scaled = g.affine(dot, random_floats(3, outputs), random_floats(4, outputs))
        total = g(relax.op.add(scaled, shortcut))
        return [total, g.conv(g.sign(total), random_signs(5, 32, outputs, 1, 1))]

    return kernels(body, (batch, channels, height, width), shortcut, target=target)


def planes_kernel(bits, weight_bits, signed, target, channels=70, batch=2):
    """A layer of several planes with a float output and packed signs, on an odd map."""
    levels = np.random.default_rng(1).integers(0, 2**weight_bits, (32, channels, 3, 3))
    weight = (2 * levels / (2**weight_bits - 1) - 1).astype(np.float32)

    def body(g, x):
        total = g.conv(g.pad(g.quantize(x, bits, signed), 1, -1.0), weight)
        scaled = g.affine(total, random_floats(3, 32), random_floats(4, 32))
        return [scaled, g.conv(g.sign(scaled), random_signs(5, 32, 32, 1, 1))]

    return kernels(body, (batch, channels, 5, 3), target=target)[0]


def small_map_kernel(target, channels=256):
    """A layer with a shortcut and both outputs, on a map too small for a GPU."""

    def body(g, x, y):
        # Of a layer, so that it is there as channels-last when this one is fused.
        shortcut = g.conv(y, random_floats(6, 64, 64, 1, 1))
        dot = g.conv(g.pad(g.sign(x), 1, -1.0), random_signs(2, 64, channels, 3, 3))
        scaled = g.affine(dot, random_floats(3, 64), random_floats(4, 64))
        total = g(relax.op.add(scaled, shortcut))
        return [total, g.conv(g.sign(total), random_signs(5, 32, 64, 1, 1))]

    return kernels(body, (1, channels, 3, 5), (1, 64, 3, 5), target=target)[0]


def conv_kernel(batch, size, channels, target):
    """A 3x3 layer with as many outputs as channels that only counts: packed in, int32 out."""
    shape = (batch, size, size, channels // 32)
    words = te.placeholder(shape, "uint32", "argument0")
    window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    windows = conv_windows(words, shape, window, lambda _: tirx.const(0, "uint32"))
    plan = plan_gemm(windows, channels, target.gpu.multiprocessors)
    laid = (plan.parts, plan.steps, channels // 8, 4, 2, plan.vectors, plan.vector)
    weight = te.placeholder(laid, "uint32", WEIGHT)
    ones = te.placeholder((channels,), "int32", "ones_of_weight")
    count = count_disagreements(windows, weight, plan, ones)
    result = te.compute((*windows.shape, channels), lambda *index: count(*index), name=RESULT)
    func = te.create_prim_func([words, weight, ones, result])
    return func.with_attrs({KERNEL: "bitserial_conv2d", NUM_OUTPUTS: 1})


def number_kernels(precision, target):
    """A stem with a border, a 1x1 layer of 40 channels and a classifier, rounded to a precision."""

    def body(g, x):
        stem = g.conv(g.pad(x, 1, 0.0), random_floats(1, 64, 3, 3, 3), strides=(2, 2))
        wide = g.conv(stem, random_floats(2, 40, 64, 3, 3), padding=(1, 1))
        narrow = g.conv(wide, random_floats(3, 32, 40, 1, 1))
        flat = g(relax.op.reshape(g(relax.op.nn.avg_pool2d(narrow, (4, 3))), (2, 32)))
        return g.dense(flat, random_floats(4, 32, 10))

    mod = module(body, (2, 3, 7, 5))
    for apply in FLOAT_PASSES[:-1]:
        mod = apply(mod)
    names = [binding.var.name for binding in float_layers(mod)]
    is_tf32 = precision == TF32
    rounded = round_to_tf32(mod) if is_tf32 else round_layers(mod, names, dtype="float16")
    lowered = lower_regions(fuse_regions(rounded), get_target(target))
    functions = [f for f in lowered.functions.values() if isinstance(f, tirx.PrimFunc)]
    return [f for f in functions if str(f.attrs[KERNEL]).endswith(f"_{precision}")]
