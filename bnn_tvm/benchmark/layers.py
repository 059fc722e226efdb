"""Time each kernel of a package alone, beside baselines' kernels of equal layers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..package.manifest import KernelInfo, LayerInfo, Manifest, TensorInfo
from ..runtime import Session, aligned_empty
from .measure import Call, Plan, Spread, Timing, measure_in_turn

MAIN = ""

_LOWER_HALF = 16


@dataclass(frozen=True)
class KernelReport:
    """The measured time of one kernel.

    Attributes
    ----------
    kernel, kind, rule, source : str
        As in the manifest.
    layers : tuple of str
    macs : int
    binary : bool
    seconds : Spread
        Of one call.
    gops : float
        10^9 operations a second at the median, two for each multiply-accumulate.
    speedups : dict of str to Spread
        For each baseline with an equal layer: its kernel's time divided by this one's.
    calls : int
        How often one inference calls it.
    """

    kernel: str
    kind: str
    rule: str
    source: str
    layers: tuple[str, ...]
    macs: int
    binary: bool
    seconds: Spread
    gops: float
    speedups: dict[str, Spread]
    calls: int = 1


def time_kernels(
    session: Session, baselines: Mapping[str, Session], plan: Plan
) -> tuple[KernelReport, ...]:
    """Time every kernel of `session` on random tensors of its argument shapes.

    Parameters
    ----------
    session : Session
    baselines : mapping from label to Session
        A kernel is timed in turn with those of the baselines' layers that have the same
        operator, input shape, weight shape and multiply-accumulates.
    plan : Plan
    """
    return tuple(
        _time_kernel(kernel, session, baselines, plan) for kernel in session.manifest.kernels
    )


def _time_kernel(
    kernel: KernelInfo, session: Session, baselines: Mapping[str, Session], plan: Plan
) -> KernelReport:
    rivals = find_rivals(
        kernel, session.manifest, {label: other.manifest for label, other in baselines.items()}
    )
    calls = {MAIN: bind_random(session, kernel)}
    for label, rival in rivals.items():
        calls[label] = bind_random(baselines[label], rival)
    timings = measure_in_turn(calls, plan)
    return report_kernel(kernel, timings.pop(MAIN), timings)


def report_kernel(kernel: KernelInfo, own: Timing, rivals: Mapping[str, Timing]) -> KernelReport:
    """Put a kernel's times beside those of the baselines' kernels that were timed with it."""
    speedups = {label: timing.ratio_to(own) for label, timing in rivals.items()}
    return describe_kernel(kernel, own.spread, speedups)


def describe_kernel(
    kernel: KernelInfo, seconds: Spread, speedups: dict[str, Spread]
) -> KernelReport:
    """Put a kernel's time beside what the manifest says of it."""
    return KernelReport(
        kernel=kernel.name,
        kind=kernel.kind,
        rule=kernel.rule,
        source=kernel.source,
        layers=kernel.layers,
        macs=kernel.macs,
        binary=kernel.binary,
        seconds=seconds,
        gops=2 * kernel.macs / seconds.median / 1e9 if seconds.median else 0.0,
        speedups=speedups,
        calls=kernel.calls,
    )


def find_rivals(
    kernel: KernelInfo, own: Manifest, others: Mapping[str, Manifest]
) -> dict[str, KernelInfo]:
    """Find the kernel that computes an equal layer in each baseline that has one."""
    found = {label: find_rival(kernel, own, other) for label, other in others.items()}
    return {label: rival for label, rival in found.items() if rival is not None}


def find_rival(kernel: KernelInfo, own: Manifest, other: Manifest) -> KernelInfo | None:
    """Find the kernel of `other` that computes a layer equal to one of `kernel`'s in one call."""
    wanted = {_work(layer) for layer in own.layers if layer.kernel == kernel.name}
    for layer in other.layers:
        rival = other.kernel(layer.kernel) if _work(layer) in wanted else None
        if rival is not None and rival.macs == kernel.macs:
            return rival
    return None


def _work(layer: LayerInfo) -> tuple[object, ...]:
    return layer.op, layer.input_shape, layer.weight_shape, layer.macs


def bind_random(session: Session, kernel: KernelInfo) -> Call:
    """Prepare calls of a kernel on its own random tensors, the same ones every time."""
    arrays = [random_tensor(info) for info in kernel.arguments]
    return session.bind_kernel(kernel.name, arrays)


def random_tensor(info: TensorInfo) -> np.ndarray:
    """Fill an aligned tensor: normal floats, or integers of all bits as packed words have.

    Kernels store bfloat16 as ``uint16``: of these, all bits would make numbers that no layer has,
    and on some of which processors take a hundred times as long.
    """
    generator = np.random.default_rng(zlib.crc32(info.name.encode()))
    array = aligned_empty(info.shape, info.dtype)
    if array.dtype.kind == "f":
        array[...] = generator.standard_normal(info.shape)
    elif array.dtype.kind == "b":
        array[...] = generator.integers(0, 2, info.shape)
    elif array.dtype == np.uint16:
        floats = generator.standard_normal(info.shape, dtype=np.float32)
        array[...] = floats.view(np.uint32) >> _LOWER_HALF
    else:
        limits: Any = np.iinfo(info.dtype)
        array[...] = generator.integers(
            limits.min, limits.max, info.shape, info.dtype, endpoint=True
        )
    return array
