"""C packages: built with real compilers, checked, and run here and on emulated boards."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from c_harness import (
    AARCH64,
    ARMV7,
    CORTEX_M4,
    HOST,
    LENET,
    LENET_SHAPE,
    PATTERN,
    Board,
    build,
    execute,
    lenet,
    library_of,
    need,
    report,
    run_array,
    symbols,
)
from mxnet.gluon import HybridBlock
from tvm import relax

import bnn_tvm
from bnn_tvm.gluon import nn
from bnn_tvm.package.manifest import TensorInfo
from bnn_tvm.package.recording import spread
from bnn_tvm.target import get_target
from bnn_tvm.zoo.mnist import load_digits

BOARDS = (AARCH64, ARMV7, CORTEX_M4)
# The C library's string functions, its mathematics, and what compilers bring themselves.
ALLOWED = {"memcpy", "memset", "memmove", "floorf"}
KIB = 1024


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits()[1].images[:200]


@pytest.fixture(scope="module")
def host_logits(digits) -> np.ndarray:
    package = bnn_tvm.compile(LENET, input_shape=LENET_SHAPE)
    return np.concatenate([package.run(digit[None]) for digit in digits])


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The example, for this machine; its folder also takes the files of a test."""
    need("gcc")
    return build(lenet("host"), tmp_path_factory.mktemp("lenet"))


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_it_builds_without_warnings_and_passes_its_self_test(compiler, tmp_path):
    need(compiler)
    board = Board("host", compiler)
    found = report(build(lenet("host"), tmp_path, board), board, "--repeats", "3")
    assert found["self_test"]["largest_difference"] == 0
    assert len(found["steps"]) == 6
    assert all(len(step["seconds"]) == 3 for step in found["steps"])
    assert {"lenet_conv0_fwd", "lenet_qconv0_fwd"} <= {step["layers"] for step in found["steps"]}


def test_sanitizers_find_nothing(tmp_path, digits, host_logits):
    need("gcc")
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = build(lenet("host"), tmp_path, HOST, *flags)
    np.testing.assert_array_equal(run_array(program, HOST, digits[:20]), host_logits[:20])


@pytest.mark.parametrize("board", (HOST, *BOARDS), ids=lambda board: board.target)
def test_the_object_needs_no_more_than_the_c_library(board, tmp_path):
    need("nm")
    package = lenet(board.target)
    package.unpack(tmp_path)
    (name,) = [name for name in package.files if name.endswith(".o")]
    assert set(symbols(tmp_path / name, "nm", "-u")) - {"U"} <= ALLOWED


def test_the_program_beside_the_object_calls_memcpy_and_memset_only(tmp_path):
    need("gcc", "nm")
    lenet("host").unpack(tmp_path)
    subprocess.run(["gcc", "-O2", "-c", "bnn_lenet_1bit.c", "-o", "c.o"], cwd=tmp_path, check=True)
    outside = {name for name in symbols(tmp_path / "c.o", "nm", "-u") if "lenet" not in name}
    assert outside <= {"memcpy", "memset"}


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.target)
def test_boards_classify_real_digits_as_the_host_does(board, tmp_path, digits, host_logits):
    board.need()
    logits = run_array(build(lenet(board.target), tmp_path, board), board, digits)
    np.testing.assert_array_equal(logits.argmax(1), host_logits.argmax(1))
    np.testing.assert_allclose(logits, host_logits, atol=1e-4)


def test_lenet_fits_a_microcontroller():
    package = lenet("cortex-m4")
    header = package.files["bnn_lenet_1bit.h"].decode()
    (line,) = [line for line in header.splitlines() if "ARENA_SIZE" in line]
    assert int(line.split()[-1]) <= 64 * KIB
    assert len(package.library) <= 260 * KIB


@pytest.mark.parametrize("openmp", [False, True])
def test_cmake_builds_it(openmp, tmp_path, digits, host_logits):
    need("cmake", "cc")
    lenet("host").unpack(tmp_path)
    option = f"-DBNN_OPENMP={'ON' if openmp else 'OFF'}"
    for arguments in (("-S", ".", "-B", "build", option), ("--build", "build")):
        subprocess.run(["cmake", *arguments], cwd=tmp_path, check=True, capture_output=True)
    program = tmp_path / "build" / "bnn_lenet_1bit_check"
    np.testing.assert_array_equal(run_array(program, HOST, digits[:5]), host_logits[:5])


def test_threads_with_arenas_of_their_own_do_not_disturb_each_other(program):
    """Two runs at once, each step shared out in the worst order, give what one run gives."""
    tmp_path = program.parent
    (tmp_path / "two.c").write_text(REENTRANT)
    command = "gcc -std=c11 -O1 two.c bnn_lenet_1bit.c bnn_lenet_1bit.o -lm -lpthread -o two"
    subprocess.run(command.split(), cwd=tmp_path, check=True)
    assert execute(tmp_path / "two", HOST).stdout == "same\n"


REENTRANT = r"""
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "bnn_lenet_1bit.h"

struct work { float input[784], output[10]; };
static _Alignas(64) unsigned char arenas[3][BNN_LENET_1BIT_ARENA_SIZE];
static struct work works[3];

static void backwards(void *context, int32_t count, bnn_lenet_1bit_task *task, void *closure) {
  (void)context;
  for (int32_t i = count; i-- > 0;) task(closure, i, i + 1);
}

static void *repeat(void *argument) {
  struct work *const work = argument;
  struct bnn_lenet_1bit_options options = {0};
  const float *const inputs[] = {work->input};
  float *const outputs[] = {work->output};
  options.parallel_for = backwards;
  for (int i = 0; i < 200; ++i)
    bnn_lenet_1bit_run_with(inputs, outputs, arenas[work - works], &options);
  return NULL;
}

int main(void) {
  pthread_t threads[2];
  float expected[2][10];
  for (int w = 0; w < 2; ++w) {
    for (int i = 0; i < 784; ++i) works[w].input[i] = (float)((i * (w + 3)) % 17) / 16.0f;
    bnn_lenet_1bit_run(works[w].input, expected[w], arenas[2]);
  }
  for (int w = 0; w < 2; ++w) pthread_create(&threads[w], NULL, repeat, &works[w]);
  for (int w = 0; w < 2; ++w) pthread_join(threads[w], NULL);
  const int same = memcmp(works[0].output, expected[0], 40) == 0 &&
                   memcmp(works[1].output, expected[1], 40) == 0;
  const int refused = bnn_lenet_1bit_run(works[0].input, expected[0], arenas[0] + 4) ==
                      BNN_LENET_1BIT_BAD_ARENA;
  puts(same && refused ? "same" : "different");
  return 0;
}
"""


@pytest.mark.parametrize(
    "options, message",
    [
        (("--input", "x.npy"), "once for each"),
        (("--fly", "1"), "unknown option"),
        (("--input", "none.npy", "--output", "y.npy"), "cannot be read"),
        (("--input", "small.npy", "--output", "y.npy"), "shape of the input"),
        (("--input", "double.npy", "--output", "y.npy"), "float32"),
        (("--input", "cut.npy", "--output", "y.npy"), "ends early"),
        (("--input", "x.npy", "--output", "no/y.npy"), "cannot be written"),
    ],
)
def test_the_example_refuses_what_does_not_fit(options, message, program, digits):
    tmp_path = program.parent
    np.save(tmp_path / "x.npy", digits[:2])
    np.save(tmp_path / "small.npy", digits[:2, :, :27])
    np.save(tmp_path / "double.npy", digits[:2].astype(np.float64))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-4])
    done = execute(program, HOST, *options)
    assert done.returncode == 2
    assert message in done.stderr


def test_wrong_weights_fail_the_self_test(tmp_path):
    need("gcc")
    package = lenet("host")
    broken = bytearray(package.library)
    # Weights of the binary layers: the middle of what is mostly weights.
    middle = len(broken) // 2
    broken[middle : middle + 4096] = bytes(4096)
    files = {**package.files, "bnn_lenet_1bit.o": bytes(broken)}
    program = build(type(package)(package.manifest, files), tmp_path)
    done = execute(program, HOST)
    assert done.returncode == 1
    assert json.loads(done.stdout)["self_test"]["passed"] is False


def test_a_number_that_is_none_fails_the_self_test(tmp_path):
    """NaN for the first numbers, then numbers that are right."""
    package = library_of(lambda g, x: g(relax.op.sqrt(x)), (23,), HOST, np.zeros(23, np.float32))
    done = execute(build(package, tmp_path), HOST)
    assert done.returncode == 1
    assert json.loads(done.stdout)["self_test"]["largest_difference"] > 1e38


class Residual(HybridBlock):
    """sign -> binary 3x3 -> batch norm, plus the input."""

    def __init__(self, channels):
        super().__init__()
        with self.name_scope():
            self.body = nn.HybridSequential()
            self.body.add(nn.QActivation(), nn.QConv2D(channels, 3, padding=1), nn.BatchNorm())

    def hybrid_forward(self, F, x):  # noqa: N803
        return x + self.body(x)


@pytest.mark.parametrize("board", (HOST, *BOARDS), ids=lambda board: board.target)
def test_shortcuts_are_written_over(board, tmp_path):
    """The self-test compares with kernels that write every result to a place of its own."""
    board.need()
    net = nn.HybridSequential()
    net.add(nn.Conv2D(32, 3, padding=1), *(Residual(32) for _ in range(3)))
    net.initialize(mx.init.Xavier(magnitude=2))
    net(mx.nd.zeros((1, 3, 8, 8)))
    package = bnn_tvm.compile_c(net, target=board.target, input_shape=(1, 3, 8, 8))
    kernels = [k for k in package.manifest.kernels if k.kind == "bitserial_conv2d"]
    target = get_target(board.target)
    operands = 6 if target.counts_words or target.counts_pairs else 5
    assert {len(kernel.arguments) - kernel.num_outputs for kernel in kernels} == {operands}
    report(build(package, tmp_path, board), board)


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_stores_land_where_they_should(board, tmp_path):
    """LLVM's joining of stores on 32-bit ARM wrote the last numbers of each row elsewhere."""
    board.need()
    shape = (1, 8, 8, 128)
    (x,) = spread(PATTERN, [TensorInfo("x", shape, "float32", "")])

    def body(g, x):
        return g(relax.op.permute_dims(x, [0, 3, 1, 2]))

    package = library_of(body, shape, board, x.transpose(0, 3, 1, 2))
    found = report(build(package, tmp_path, board), board)
    assert found["self_test"]["largest_difference"] == 0


def test_equal_input_gives_equal_bytes():
    first, second = (
        bnn_tvm.compile_c(LENET, target="x86-64", input_shape=LENET_SHAPE) for _ in range(2)
    )
    assert first.to_bytes() == second.to_bytes()


def test_headers_of_several_networks_fit_into_one_program(tmp_path):
    need("g++")
    package = lenet("host")
    package.unpack(tmp_path)
    other = package.files["bnn_lenet_1bit.h"].replace(b"lenet_1bit", b"other")
    (tmp_path / "other.h").write_bytes(other.replace(b"LENET_1BIT", b"OTHER"))
    (tmp_path / "both.cpp").write_text('#include "bnn_lenet_1bit.h"\n#include "other.h"\n')
    command = ["g++", "-Wall", "-Wextra", "-Werror", "-c", "both.cpp"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_it_names_no_path_of_the_compiling_machine(tmp_path):
    text = b"".join(itertools.chain(lenet("host").files.values()))
    assert str(Path.home()).encode() not in text
    assert str(Path(bnn_tvm.__file__).parent).encode() not in text
