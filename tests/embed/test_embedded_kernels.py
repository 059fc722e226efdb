"""Kernels as plain functions: the same numbers, from pointers, in parts, with given memory."""

from __future__ import annotations

import ctypes
import itertools
import re
import subprocess

import numpy as np
import pytest
from c_harness import need
from relax_harness import TARGETS, lower, module, random_floats, run

from bnn_tvm.build import schedule_module
from bnn_tvm.embed.kernels import lower_kernels, part_name
from bnn_tvm.embed.machine_code import compile_object
from bnn_tvm.embed.memory import round_up
from bnn_tvm.embed.program import identifier, read_program
from bnn_tvm.errors import ModelError
from bnn_tvm.runtime import aligned_empty
from bnn_tvm.target import get_target

SHAPE = (1, 24, 64, 64)
WEIGHT = random_floats(1, 32, 24, 3, 3)


def scheduled(target: str, stride: int = 2):
    """One convolution that is worth several threads; in Winograd's form if it moves by 1."""

    def network(g, x):
        return g.conv(x, WEIGHT, strides=(stride, stride), padding=1)

    return schedule_module(lower(module(network, SHAPE), target), get_target(target)).mod


def load(mod, target: str, folder):
    """Compile kernels and weights, and link them to a library that ctypes loads."""
    need("gcc")
    kernels, weights = lower_kernels(mod, get_target(target)), read_program(mod).constants
    parts = {
        part_name(name, index): part.func
        for name, kernel in kernels.items()
        for index, part in enumerate(kernel.parts)
    }
    (folder / "model.o").write_bytes(compile_object(parts, weights, get_target(target)))
    subprocess.run(["gcc", "-shared", "model.o", "-o", "model.so", "-lm"], cwd=folder, check=True)
    return kernels, ctypes.CDLL(str(folder / "model.so"))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("target", TARGETS)
def test_parts_of_a_kernel_make_the_whole(target, stride, tmp_path):
    mod = scheduled(target, stride)
    kernels, library = load(mod, target, tmp_path)
    program = read_program(mod)
    (name,) = [name for name in kernels if name.startswith("conv2d")]
    step = next(step for step in program.steps if step.kernel == name)
    x = random_floats(0, *SHAPE)
    whole = run(mod, [x], target)[0]
    data, result = (
        aligned_empty(SHAPE, "float32"),
        aligned_empty((1, 64 // stride, 64 // stride, 32), "float32"),
    )
    data[...], result[...] = x, np.nan
    scratch = aligned_empty((max(kernels[name].workspace, 1),), "uint8")
    operands = [ctypes.c_void_p(data.ctypes.data)]
    for weight in step.reads[1:]:
        operands.append(ctypes.byref(ctypes.c_char.in_dll(library, weight)))
    operands += [ctypes.c_void_p(a.ctypes.data) for a in (result, scratch)]
    for index, part in enumerate(kernels[name].parts):
        cuts = sorted({0, part.tasks // 3, part.tasks})
        for begin, end in reversed(list(itertools.pairwise(cuts))):
            symbol = part_name(name, index)
            library[symbol](*operands, ctypes.c_int32(begin), ctypes.c_int32(end))
    np.testing.assert_array_equal(result.transpose(0, 3, 1, 2), whole)


def test_a_padded_copy_is_a_part_of_its_own_and_the_sums_are_divided():
    kernels = lower_kernels(scheduled(TARGETS[0]), get_target(TARGETS[0]))
    (conv,) = [kernel for name, kernel in kernels.items() if name.startswith("conv2d")]
    padding, sums = conv.parts
    assert padding.tasks == 1
    assert sums.tasks > 1
    assert conv.workspace == round_up(4 * 66 * 66 * 24)


def test_the_portable_schedule_gets_scratch_memory_instead_of_stack():
    kernels = lower_kernels(scheduled("x86-64"), get_target("x86-64"))
    (conv,) = [kernel for name, kernel in kernels.items() if name.startswith("conv2d")]
    assert conv.workspace >= 4 * 32 * 32 * 32
    assert [part.tasks for part in conv.parts] == [1]


def test_the_object_holds_kernels_and_weights_and_nothing_else(tmp_path):
    load(scheduled(TARGETS[0]), TARGETS[0], tmp_path)
    shown = subprocess.run(["nm", "model.o"], cwd=tmp_path, capture_output=True, text=True).stdout
    names = [line.split() for line in shown.splitlines()]
    assert not [name for *_, kind, name in names if kind in "UW" and name != "memset"]
    assert {name for *_, kind, name in names if kind == "R"} == set(
        read_program(scheduled(TARGETS[0])).constants
    )
    sections = subprocess.run(
        ["readelf", "-SW", "model.o"], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert not re.search(r"\.debug|fp16", sections)


def test_what_is_no_kernel_call_is_refused():
    from tvm import relax

    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            output = builder.emit_output(relax.op.nn.relu(x))
        builder.emit_func_output(output)
    with pytest.raises(ModelError, match=r"relu.*--format library"):
        read_program(builder.get())


def test_equal_constants_are_stored_once():
    program = read_program(scheduled(TARGETS[0]))
    assert len(program.constants) == len({v.tobytes() for v in program.constants.values()})


@pytest.mark.parametrize(
    "name, spelled", [("LeNet-1bit", "lenet_1bit"), ("a.b/c", "a_b_c"), ("_", "model")]
)
def test_identifiers(name, spelled):
    assert identifier(name) == spelled
