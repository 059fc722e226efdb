"""Every GPU target compiles networks; what their device code is made of."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
from cuda_graph_harness import RUN_OR_CAPTURE, launches
from cuda_harness import architectures, device_code, disassemble, needs_cuobjdump, usage
from tvm import tirx

import bnn_tvm
from bnn_tvm.compiler import prepare
from bnn_tvm.kernels.stages import KERNEL
from bnn_tvm.target import CudaTarget, get_target, list_targets

pytestmark = needs_cuobjdump

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
GPUS = [target.id for target in list_targets() if isinstance(target, CudaTarget)]
FAST = ("sm_75", "sm_80", "sm_90")
NATIVE = {"and": "BMMA.168256.AND.POPC", "xor": "BMMA.88128.XOR.POPC"}
MULTIPLY = re.compile(r"\b[A-Z]*MMA\.[.\w]+")
WIDE_LOAD = re.compile(r"\bLDS(\.U)?\.128")
# Registers are handed to warps in units of 256.
REGISTER_UNIT, WARP = 256, 32


@functools.cache
def lenet(target: str) -> bnn_tvm.Package:
    return bnn_tvm.compile(LENET, target=target, input_shape=(1, 1, 28, 28))


def zoo_network(name: str) -> Any:
    mxnet = pytest.importorskip("mxnet")
    from bnn_tvm.zoo.catalogue import get_model

    mxnet.random.seed(0)
    network = get_model(name)
    network.initialize()
    return network


def resnet_package(target: str) -> bnn_tvm.Package:
    network = zoo_network("resnet18_e1")
    return bnn_tvm.compile(network, target=target, input_shape=(1, 3, 64, 64))


def check_device_code(package: bnn_tvm.Package, target: str, folder: Path) -> None:
    """The right architectures, the native instruction in every binary layer, no spill.

    Kernels of one step of K copy by way of the registers: nothing waits for other copies there.
    """
    code, gpu = device_code(package.library), get_target(target).gpu
    assert architectures(code, folder) == ({target}, {target})
    found, used = disassemble(code, folder), usage(code, folder)
    assert ("LDGSTS" in "".join(found.values())) == gpu.async_copy
    for kernel in package.manifest.kernels:
        text = found[f"{kernel.name}_kernel"]
        if kernel.kind.startswith(("bitserial_conv", "bitserial_dense")):
            assert kernel.rule == "cuda.multiply" and kernel.source == "hand"
            assert set(MULTIPLY.findall(text)) == {NATIVE[gpu.b1_mma]}
            assert ("LDGSTS" in text) == ("LDGDEPBAR" in text)
        if kernel.kind.startswith(("conv", "dense")):
            assert kernel.rule == "cuda.multiply" and "FFMA" in text
            assert WIDE_LOAD.search(text)
    for name, kernel in used.items():
        assert (kernel.stack, kernel.local) == (0, 0), name
        assert "LDL" not in found[name] and "STL" not in found[name], name


@pytest.mark.parametrize(
    "target", [pytest.param(g, marks=() if g in FAST else pytest.mark.slow) for g in GPUS]
)
def test_every_target_compiles_lenet(target, tmp_path):
    check_device_code(lenet(target), target, tmp_path)


def test_lenet_is_one_graph():
    prepared = prepare(LENET, target="sm_90", input_shape=(1, 1, 28, 28))
    assert launches(prepared.scheduled) == [RUN_OR_CAPTURE]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18_e1", "densenet28", "meliusnet22"])
def test_networks_are_one_graph(name):
    prepared = prepare(zoo_network(name), target="sm_90", input_shape=(1, 3, 64, 64))
    assert launches(prepared.scheduled) == [RUN_OR_CAPTURE]


@pytest.mark.slow
@pytest.mark.parametrize("target", GPUS)
def test_every_target_compiles_resnet(target, tmp_path):
    package = resnet_package(target)
    check_device_code(package, target, tmp_path)
    packing = [k for k in package.manifest.kernels if any("pack" in a.name for a in k.arguments)]
    found = disassemble(device_code(package.library), tmp_path)
    binary = [k for k in packing if k.kind == "bitserial_conv2d"]
    assert binary
    for kernel in binary:
        # Signs are packed by a vote; sums of ones are added up by shuffles in the and form only.
        assert "VOTE" in found[f"{kernel.name}_kernel"], kernel.name


def test_kernels_leave_room_for_as_many_warps_as_their_rule_means_to(tmp_path):
    """At least two blocks, or eight warps, of each kernel of LeNet fit a multiprocessor."""
    target = get_target("sm_80")
    used = usage(device_code(lenet("sm_80").library), tmp_path)
    prepared = prepare(LENET, target="sm_80", input_shape=(1, 1, 28, 28))
    for gvar, func in prepared.scheduled.functions.items():
        if not isinstance(func, tirx.PrimFunc) or KERNEL not in func.attrs:
            continue
        kernel = used[f"{gvar.name_hint}_kernel"]
        warps = threads_of(func) // WARP
        registers = -(-kernel.registers * WARP // REGISTER_UNIT) * REGISTER_UNIT * warps
        resident = min(target.gpu.registers // registers, target.gpu.warps // warps)
        assert resident * warps >= 8, gvar.name_hint


def threads_of(func: tirx.PrimFunc) -> int:
    """Count the threads of a block: the largest extents of its thread loops."""
    import tvm_ffi

    extents = {"threadIdx.x": 1, "threadIdx.y": 1}

    def note(loop: tirx.For) -> None:
        if loop.kind == tirx.ForKind.THREAD_BINDING:
            tag = str(loop.thread_binding.thread_tag)
            extents[tag] = max(extents.get(tag, 1), int(loop.extent))

    tvm_ffi.structural_walk(func.body, (tirx.For, note))
    return extents["threadIdx.x"] * extents["threadIdx.y"]
