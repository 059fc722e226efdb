"""Device code is compiled ahead: what is in a package, and what happens without the tools."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from cuda_harness import architectures, device_code, needs_cuobjdump, needs_nvcc, usage

import bnn_tvm
import bnn_tvm.cuda.nvcc as nvcc
import bnn_tvm.gpu as gpu
from bnn_tvm.errors import DeviceError, ToolchainError
from bnn_tvm.runtime import Session
from bnn_tvm.target import get_target

LENET = Path(__file__).parents[2] / "examples" / "models" / "lenet-1bit-symbol.json"
SHAPE = (1, 1, 28, 28)
KERNEL = "__global__ void twice(int *x) { x[threadIdx.x] *= 2; }"


@pytest.fixture(scope="module")
def lenet():
    return bnn_tvm.compile(LENET, target="sm_80", input_shape=SHAPE)


@needs_cuobjdump
def test_a_package_carries_machine_code_and_ptx_of_its_architecture(lenet, tmp_path):
    code = device_code(lenet.library)
    assert architectures(code, tmp_path) == ({"sm_80"}, {"sm_80"})
    assert lenet.manifest.target.gpu == "sm_80"


@needs_cuobjdump
def test_no_kernel_spills_and_every_kernel_of_the_manifest_is_there(lenet, tmp_path):
    used = usage(device_code(lenet.library), tmp_path)
    assert all(kernel.stack == 0 and kernel.local == 0 for kernel in used.values())
    assert {name.split("_kernel")[0] for name in used} == {k.name for k in lenet.manifest.kernels}


@needs_cuobjdump
@pytest.mark.parametrize("name", ["sm_75", "sm_90"])
def test_nvcc_compiles_for_each_architecture(name, tmp_path):
    code = nvcc.compile_fatbin(KERNEL, get_target(name))
    assert architectures(code, tmp_path) == ({name}, {name})


def test_without_nvcc_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nvcc, "shutil", SimpleNamespace(which=lambda name, path: None))
    with pytest.raises(ToolchainError, match=r"no nvcc .* pip install 'bnn_tvm\[cuda\]'"):
        bnn_tvm.compile(LENET, target="sm_80", input_shape=SHAPE)


@needs_nvcc
def test_what_nvcc_refuses_is_said():
    with pytest.raises(ToolchainError, match=r"does not compile for sm_80: .*undefined_thing"):
        nvcc.compile_fatbin("__global__ void k() { undefined_thing(); }", get_target("sm_80"))


@needs_nvcc
def test_a_session_without_a_gpu_says_why(lenet, monkeypatch):
    def missing():
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(gpu, "load_cuda_library", missing)
    with pytest.raises(
        DeviceError, match=r"for sm_80 runs on a GPU.*libcuda\.so\.1.*NVIDIA's driver"
    ):
        Session(lenet)
