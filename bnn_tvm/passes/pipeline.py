"""The passes in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable

from tvm.ir import IRModule

from .canonicalize_sign import canonicalize_sign
from .convert_layout import convert_layout
from .fold_constants import fold_constants
from .fold_thresholds import fold_thresholds
from .fuse_regions import fuse_regions
from .hoist_sign import hoist_sign
from .pool_mean import pool_mean
from .sink_activation import sink_activation
from .sink_affine import sink_affine
from .sink_concat import sink_concat
from .sink_reshape import sink_reshape
from .squeeze_pad import squeeze_pad

Pass = Callable[[IRModule], IRModule]

FLOAT_PASSES: tuple[Pass, ...] = (
    canonicalize_sign,
    fold_constants,
    squeeze_pad,
    pool_mean,
    sink_activation,
    sink_reshape,
    hoist_sign,
    convert_layout,
    sink_affine,
    sink_concat,
    fold_thresholds,
    fuse_regions,
)
"""After each of these the module computes the same function, in float, and runs."""
