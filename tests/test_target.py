"""Targets: what the files may say, and which one a machine gets."""

from __future__ import annotations

import dataclasses
import importlib.resources
import itertools

import pytest

from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import TargetError
from bnn_tvm.target import (
    CudaTarget,
    Target,
    detect_host,
    get_processor,
    get_target,
    list_targets,
)

PROCESSORS = [target for target in list_targets() if not isinstance(target, CudaTarget)]
GPUS = ["sm_90", "sm_89", "sm_86", "sm_80", "sm_75"]
IDS = [target.id for target in PROCESSORS]
X86 = ["x86-64-zen4", "x86-64-vpopcntdq", "x86-64-avx2", "x86-64"]
# Like the one of the next higher rank, with an instruction that is only used on request.
ON_REQUEST = {"x86-64-avxvnni": "vpdpbusd"}
ARM_64 = ["cortex-a76", "neoverse-n1", "cortex-a53", "cortex-a72"]
OTHERS = ["armv7-neon", "cortex-m4", "cortex-m7", "riscv64"]

GOOD = """
id = "board"
description = "a board"
rank = 1
kind = "llvm"
triple = "aarch64-linux-gnu"
mcpu = "cortex-a72"
features = ["+neon"]
cpu_flags = ["asimd"]
unless_cpu_flags = []
num_cores = 4
vector_bits = 128
vector_registers = 32
l1_kib = 32
l2_kib = 1024
in_order = true
native_popcount = "none"
word_bits = 32
toolchain = "aarch64-linux-gnu"
dot_instructions = []
"""


def machine(*ids: str, cores: int = 4, architecture: str = "x86_64") -> LocalDevice:
    flags = {flag for name in ids for flag in get_target(name).cpu_flags}
    return LocalDevice(architecture, "a CPU", frozenset(flags), cores)


def of_architecture(architecture: str) -> list[Target]:
    return [target for target in PROCESSORS if target.architecture == architecture]


def test_installed_targets_are_listed_best_first():
    assert sorted(IDS) == sorted([*X86, *ON_REQUEST, *ARM_64, *OTHERS])
    by_rank = [target.id for target in of_architecture("x86_64")]
    assert [name for name in by_rank if name not in ON_REQUEST] == X86
    assert [target.id for target in of_architecture("aarch64")] == ARM_64


@pytest.mark.parametrize("architecture", sorted({t.architecture for t in PROCESSORS}))
def test_ranks_order_the_targets_of_an_architecture(architecture):
    ranks = [target.rank for target in of_architecture(architecture)]
    assert ranks == sorted(ranks, reverse=True) and len(set(ranks)) == len(ranks)


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_better_targets_ask_for_as_much_or_more(architecture):
    targets = [target for target in of_architecture(architecture) if target.id not in ON_REQUEST]
    flags = [set(target.cpu_flags) for target in targets]
    assert all(better >= worse for better, worse in itertools.pairwise(flags))


@pytest.mark.parametrize("name, instruction", ON_REQUEST.items())
def test_the_host_has_an_instruction_on_request_where_the_machine_has_it(name, instruction):
    assert detect_host(machine(name)).id != name
    assert detect_host(machine(name), instruction).id == name
    assert instruction not in detect_host(machine("x86-64-avx2"), instruction).dot_instructions


def test_the_host_is_none_that_the_machine_has_better_than():
    slow = machine("x86-64-zen4")
    slow = dataclasses.replace(slow, flags=slow.flags | {"avx512_fp16"})
    assert detect_host(slow).id == detect_host(slow, "vdpbf16ps").id == "x86-64-vpopcntdq"
    assert not slow.lacks(get_target("x86-64-zen4").cpu_flags)


@pytest.mark.parametrize("name", X86)
def test_the_host_is_the_best_target_that_fits(name):
    host = detect_host(machine(name, cores=6))
    assert host == dataclasses.replace(get_target(name), num_cores=6)


@pytest.mark.parametrize("name", X86)
@pytest.mark.parametrize("flag", ["avx512_vpopcntdq", "avx2", "popcnt"])
def test_one_missing_flag_drops_to_a_lower_target(name, flag):
    lacking = dataclasses.replace(machine(name), flags=machine(name).flags - {flag})
    fitting = [t.id for t in of_architecture("x86_64") if set(t.cpu_flags) <= lacking.flags]
    if not fitting:
        with pytest.raises(TargetError, match="no installed target fits"):
            detect_host(lacking)
    else:
        assert detect_host(lacking).id == fitting[0]


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("cortex-a76", "cortex-a76"),
        ("neoverse-n1", "cortex-a76"),
        # Their flags do not tell these two apart; the order for the first suits both.
        ("cortex-a72", "cortex-a53"),
    ],
)
def test_the_host_of_an_arm_board(name, host):
    assert detect_host(machine(name, architecture="aarch64")).id == host


def test_no_target_for_another_architecture():
    with pytest.raises(TargetError, match="s390x"):
        detect_host(machine(*IDS, architecture="s390x"))


def test_host_by_name_is_this_machines():
    assert get_target("host") == detect_host()
    assert not LocalDevice.detect().lacks(get_target("host").cpu_flags)


@pytest.mark.parametrize("name", IDS)
def test_tvm_accepts_each_target(name):
    target = get_target(name).to_tvm()
    assert target.kind.name == "llvm"
    assert str(target.attrs["mcpu"]) == get_target(name).mcpu


def test_info_carries_what_a_machine_must_have():
    info = get_target("x86-64-avx2").info()
    assert (info.id, info.cpu, info.triple) == ("x86-64-avx2", "x86-64-v3", "x86_64-linux-gnu")
    assert "avx2" in info.features


@pytest.mark.parametrize(
    ("name", "hint"),
    [("x86-avx2", "x86-64-avx2"), ("hosts", "host"), ("zzz", "known are host, armv7-neon")],
)
def test_unknown_ids_get_suggestions(name, hint):
    with pytest.raises(TargetError) as caught:
        get_target(name)
    assert repr(name) in str(caught.value) and hint in str(caught.value)


def test_a_new_board_is_a_file(tmp_path):
    path = tmp_path / "board.toml"
    path.write_text(GOOD)
    board = get_target(str(path))
    assert (board.architecture, board.features, board.num_cores) == ("aarch64", ("+neon",), 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('mcpu = "cortex-a72"', "", "board.toml lacks the key 'mcpu'"),
        ("rank = 1", "rank = 1\nspeed = 2", "board.toml has the unknown key 'speed'"),
        ("rank = 1", 'rank = "1"', "board.toml.rank must be int, not str"),
        ("rank = 1", "rank = true", "board.toml.rank must be int, not bool"),
        ('["+neon"]', '"+neon"', "board.toml.features must be a list"),
        ('["+neon"]', "[1]", "board.toml.features[0] must be str"),
        ('["+neon"]', '["neon"]', "board.toml: features must each start with + or -"),
        ("word_bits = 32", "word_bits = 24", "board.toml: word_bits must be one of 8, 32"),
        ("vector_bits = 128", "vector_bits = 100", "board.toml: vector_bits must hold words"),
        (
            "vector_registers = 32",
            "vector_registers = 0",
            "board.toml: vector_registers must be above 0",
        ),
        ("l1_kib = 32", "l1_kib = -1", "board.toml: l1_kib must not be below 0"),
        ("num_cores = 4", "num_cores = -4", "board.toml: num_cores must be above 0"),
        ('"llvm"', '"metal"', "board.toml: kind must be one of llvm"),
        ('"none"', '"fast"', "board.toml: native_popcount must be one of vpternlogd"),
        ('"aarch64-linux-gnu"', '"arm"', "board.toml: triple must be an LLVM triple"),
        ('id = "board"', 'id = "bird"', "board.toml: id must be the file's name"),
        ("rank = 1", "rank", "board.toml is not TOML"),
    ],
)
def test_wrong_files_are_refused_by_file_and_key(tmp_path, old, new, message):
    path = tmp_path / "board.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(TargetError) as caught:
        get_target(str(path))
    if "bird" in new:
        assert "id must be the file's name, not 'bird'" in str(caught.value)
    else:
        assert message in str(caught.value)


def test_gpus_are_listed_newest_first_and_never_the_host():
    assert [t.id for t in list_targets() if isinstance(t, CudaTarget)] == GPUS
    assert not isinstance(detect_host(machine(*IDS)), CudaTarget)


@pytest.mark.parametrize("name", GPUS)
def test_tvm_accepts_each_gpu_with_the_processor_as_its_host(name):
    gpu = get_target(name)
    target = gpu.to_tvm()
    assert (target.kind.name, str(target.attrs["arch"])) == ("cuda", name)
    assert target.host.kind.name == "llvm"
    assert gpu.info().gpu == name and get_target("x86-64").info().gpu == ""


@pytest.mark.parametrize("name", GPUS)
def test_b1_tensor_cores_are_used_in_the_form_that_is_one_instruction(name):
    gpu = get_target(name)
    assert gpu.gpu.b1_mma == ("xor" if name == "sm_75" else "and")
    assert gpu.gpu.async_copy == (name != "sm_75")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"and"', '"or"', "sm_80.toml: gpu must have a b1_mma of and, xor, none"),
        ("warps = 64", "warps = 0", "sm_80.toml: gpu must have numbers above 0"),
        ("warps = 64", "", "sm_80.toml.gpu lacks the key 'warps'"),
        ('"cuda"', '"llvm"', "sm_80.toml has the unknown key 'gpu'"),
    ],
)
def test_wrong_gpus_are_refused(tmp_path, old, new, message):
    text = (importlib.resources.files("bnn_tvm.targets") / "sm_80.toml").read_text()
    assert old in text
    path = tmp_path / "sm_80.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(TargetError) as caught:
        get_target(str(path))
    assert message in str(caught.value)


def test_gpus_are_no_processors():
    assert get_processor("x86-64") == get_target("x86-64")
    with pytest.raises(TargetError, match="sm_80 is a GPU"):
        get_processor("sm_80")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(TargetError, match="cannot read the target file"):
        get_target(str(tmp_path / "none.toml"))
