"""Makes kernels of layers as they are lowered for GPUs, not scheduled."""

from __future__ import annotations

import numpy as np
from relax_harness import lower, module, random_floats, random_signs
from tvm import relax, tirx

from bnn_tvm.kernels.stages import KERNEL

AND, XOR = "sm_80", "sm_75"
"""Targets whose tensor cores count bits in these forms."""


def kernels(body, *shapes, target=AND, kind="bitserial"):
    lowered = lower(module(body, *shapes), target)
    functions = [f for f in lowered.functions.values() if isinstance(f, tirx.PrimFunc)]
    return [f for f in functions if str(f.attrs[KERNEL]).startswith(kind)]


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
