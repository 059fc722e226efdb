"""The command ``python -m benchmarks.gpu``: every bar for GPUs, measured beside its peer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bnn_tvm.errors import BnnTvmError, DeviceError, ToolchainError
from bnn_tvm.gpu import find_gpu
from bnn_tvm.runtime import load_tvm_runtime
from bnn_tvm.target import CudaTarget, list_targets

from . import ours, peers
from .peak import measure_peak

_GEMM = 8192
_SHARE_OF_PEAK, _OVER_INT8, _OVER_HALF_CONV, _OVER_HALF_RESNET = 0.55, 3.0, 4.0, 2.0
_RESNET = "resnet18_e1"
_SECONDS = {1: 0.22e-3, 8: 0.30e-3}
_LARGE_BATCH = 256


@dataclass(frozen=True)
class Row:
    """One measurement, and the least that it should be.

    Attributes
    ----------
    name : str
    seconds : float
        Ours.
    figure, bar : float
        A ratio that should be at least the bar.
    meaning : str
        What the ratio is of.
    """

    name: str
    seconds: float
    figure: float
    bar: float
    meaning: str


def find_target() -> CudaTarget:
    """Find the newest target that this machine's GPU runs.

    Raises
    ------
    DeviceError
        If there is none; the reason is that of the oldest target.
    """
    load_tvm_runtime()
    reason = DeviceError("there are no targets for GPUs")
    for target in list_targets():
        if isinstance(target, CudaTarget) and target.gpu.b1_mma == "and":
            try:
                find_gpu().check_runs(target.id)
            except DeviceError as exc:
                reason = exc
            else:
                return target
    raise reason


def measure(target: CudaTarget) -> Iterator[Row]:
    """Measure every bar, one after the other."""
    yield from _measure_gemm(target)
    for conv in ours.RESNET_CONVS:
        yield from _measure_conv(conv, target)
    for batch, limit in _SECONDS.items():
        seconds = ours.time_network(_RESNET, batch, target)
        yield Row(f"{_RESNET}, batch {batch}", seconds, limit / seconds, 1.0, "of the time allowed")
    seconds = ours.time_network(_RESNET, _LARGE_BATCH, target)
    half = peers.time_half_resnet(_LARGE_BATCH)
    name = f"{_RESNET}, batch {_LARGE_BATCH}"
    yield Row(name, seconds, half / seconds, _OVER_HALF_RESNET, "times float16 ResNet-18")


def _measure_gemm(target: CudaTarget) -> Iterator[Row]:
    """Measure a product of bits by each instruction that it may be computed by."""
    peak, int8 = measure_peak(target), peers.time_int8_gemm(_GEMM)
    func = ours.gemm_kernel(_GEMM, target)
    for instruction in ours.list_instructions(func, target):
        seconds = ours.time_kernel(func, target, instruction)
        name = f"binary {_GEMM}^3, {instruction}"
        share = 2 * _GEMM**3 / seconds / peak
        yield Row(name, seconds, share, _SHARE_OF_PEAK, f"of the and peak, {peak / 1e15:.2f} POPS")
        yield Row(name, seconds, int8 / seconds, _OVER_INT8, "times cuBLAS int8")


def _measure_conv(conv: ours.Conv, target: CudaTarget) -> Iterator[Row]:
    """Measure a layer by each instruction that it may be computed by."""
    half, func = peers.time_half_conv(conv), ours.conv_kernel(conv, target)
    for instruction in ours.list_instructions(func, target):
        seconds = ours.time_kernel(func, target, instruction)
        name = f"3x3, {conv.batch} x {conv.size}x{conv.size}x{conv.channels}, {instruction}"
        yield Row(name, seconds, half / seconds, _OVER_HALF_CONV, "times PyTorch float16")


def to_table(rows: Iterator[Row], title: str) -> Table:
    """Lay measurements out for a terminal."""
    table = Table(title=title)
    for column in ("what", "ours, us", "ratio", "bar", "met", "the ratio is"):
        table.add_column(column)
    for row in rows:
        met = "yes" if row.figure >= row.bar else "no"
        figures = (f"{row.seconds * 1e6:.1f}", f"{row.figure:.2f}", f"{row.bar:.2f}", met)
        table.add_row(row.name, *figures, row.meaning)
    return table


def main() -> int:
    """Measure and print; return the exit code."""
    try:
        target = find_target()
        try:
            import torch
        except ImportError as exc:
            raise ToolchainError("the peers need PyTorch for CUDA: pip install torch") from exc
        title = f"{torch.cuda.get_device_name()}, {target.id}, torch {torch.__version__}"
        Console().print(to_table(measure(target), title))
    except BnnTvmError as exc:
        print("error:", exc, file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
