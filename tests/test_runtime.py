"""Session: real libraries, run without the compiler."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import bnn_tvm.runtime as runtime
from bnn_tvm.device import LocalDevice
from bnn_tvm.errors import DeviceError, InputError, PackageError, ToolchainError
from bnn_tvm.package import Package
from bnn_tvm.runtime import ALIGNMENT, Session, aligned_empty

HERE = LocalDevice.detect()


def with_target(package: Package, **changes) -> Package:
    target = dataclasses.replace(package.manifest.target, **changes)
    return Package(dataclasses.replace(package.manifest, target=target), package.library)


def inputs(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, 8)).astype(np.float32)


def expected(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.maximum(x @ weight, 0)


def test_runs_from_memory_and_from_a_file(classifier, classifier_file, classifier_weight):
    x = inputs()
    for session in (Session(classifier), Session(classifier_file), classifier.session()):
        np.testing.assert_allclose(session.run(x), expected(x, classifier_weight), rtol=1e-5)
    np.testing.assert_array_equal(classifier.run(x), classifier.run({"x": x}))


def test_outputs_are_the_callers_own(classifier):
    session = Session(classifier)
    first = session.run(inputs(0))
    kept = first.copy()
    session.run(inputs(1))
    first_again = session.run(inputs(0))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(first_again, kept)
    assert first.flags.owndata and first.flags.writeable


@pytest.mark.parametrize("offset", range(0, ALIGNMENT, 4))
def test_inputs_at_any_address(classifier, offset):
    raw = aligned_empty((64 * 4 + ALIGNMENT,), "uint8")
    x = raw[offset : offset + 64].view(np.float32).reshape(2, 8)
    x[...] = inputs()
    np.testing.assert_array_equal(classifier.run(x), classifier.run(inputs()))


def test_aligned_inputs_are_read_in_place(classifier, classifier_weight, monkeypatch):
    session, x = Session(classifier), aligned_empty((2, 8), "float32")
    monkeypatch.setattr(np, "copyto", None)
    for seed in range(2):
        x[...] = inputs(seed)
        np.testing.assert_allclose(session.run(x), expected(x, classifier_weight), rtol=1e-5)
        np.testing.assert_array_equal(x, inputs(seed))


def test_inputs_of_any_strides_and_read_only(classifier):
    wide = np.zeros((8, 4), np.float32)
    wide[:, ::2] = inputs().T
    wide.flags.writeable = False
    np.testing.assert_array_equal(classifier.run(wide[:, ::2].T), classifier.run(inputs()))


def test_several_inputs_and_outputs_and_booleans(pair):
    a, b = np.float32([1, 5, 3]), np.float32([2, 4, 3])
    for given in ((a, b), ({"b": b, "a": a},)):
        total, above = pair.run(*given)
        np.testing.assert_array_equal(total, a + b)
        assert above.dtype == np.bool_
        np.testing.assert_array_equal(above, a > b)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "1 arrays are expected, 0 were given"),
        ((inputs(), inputs()), "1 arrays are expected, 2 were given"),
        (
            (np.zeros((2, 9), np.float32),),
            "x must be float32 of shape (2, 8), not float32 of shape (2, 9)",
        ),
        ((np.zeros((8,), np.float32),), "not float32 of shape (8)"),
        ((np.zeros((2, 8)),), "not float64 of shape (2, 8)"),
        ((np.zeros((2, 8), ">f4"),), "not >f4 of shape (2, 8)"),
        (([[0.0] * 8] * 2,), "x must be a numpy array, not list"),
        (({"y": inputs()},), "inputs x are expected, y were given"),
        (({},), "inputs x are expected"),
    ],
)
def test_wrong_inputs_are_refused(classifier, given, message):
    with pytest.raises(InputError) as caught:
        classifier.run(*given)
    assert message in str(caught.value)


def test_a_missing_instruction_set_is_refused_before_loading(classifier, monkeypatch):
    monkeypatch.setattr(runtime, "_load_library", lambda library: pytest.fail("it was loaded"))
    package = with_target(classifier, features=("popcnt", "avx9000", "sse42"))
    with pytest.raises(DeviceError, match="lacks avx9000, sse42"):
        Session(package)


def test_another_architecture_is_refused(classifier):
    with pytest.raises(DeviceError, match="riscv64"):
        Session(with_target(classifier, triple="riscv64-linux-gnu"))


def test_the_given_device_decides(classifier):
    bare = dataclasses.replace(HERE, flags=frozenset())
    with pytest.raises(DeviceError, match="popcnt"):
        Session(classifier, device=bare)


@pytest.mark.parametrize("threads", [0, -1, HERE.cores + 1])
def test_impossible_threads_are_refused(classifier, threads):
    with pytest.raises(DeviceError, match=f"between 1 and {HERE.cores}"):
        Session(classifier, threads)


def test_another_tvm_is_refused(classifier):
    manifest = dataclasses.replace(classifier.manifest, versions={"tvm": "0.26.1"})
    with pytest.raises(PackageError, match=r"TVM 0\.26\.1"):
        Session(Package(manifest, classifier.library))


@pytest.mark.parametrize("library", [b"", b"\x7fELF" + bytes(60)])
def test_a_library_that_does_not_load_is_refused(classifier, library):
    with pytest.raises(PackageError, match="does not load"):
        Session(Package(classifier.manifest, library))


def test_no_file_is_left_behind(classifier, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Session(classifier).run(inputs())
    assert list(tmp_path.iterdir()) == []


def test_a_single_kernel_runs_on_the_callers_arrays(classifier):
    session = Session(classifier)
    scores, y = aligned_empty((2, 4), "float32"), aligned_empty((2, 4), "float32")
    scores[...] = np.arange(8).reshape(2, 4) - 4
    session.bind_kernel("relu", [scores, y])()
    np.testing.assert_array_equal(y, np.maximum(scores, 0))


def test_a_boolean_kernel_runs(pair):
    arrays = [aligned_empty((3,), dtype) for dtype in ("float32", "float32", "bool")]
    arrays[0][...], arrays[1][...] = [1, 5, 3], [2, 4, 3]
    pair.session().bind_kernel("greater", arrays)()
    assert arrays[2].tolist() == [False, True, False]


def test_wrong_kernel_arguments_are_refused(classifier):
    session = Session(classifier)
    good = aligned_empty((2, 4), "float32")
    shifted = aligned_empty((9,), "float32")[1:].reshape(2, 4)
    with pytest.raises(PackageError, match="no kernel 'conv'"):
        session.bind_kernel("conv", [good, good])
    with pytest.raises(InputError, match="aligned_empty"):
        session.bind_kernel("relu", [good, shifted])
    with pytest.raises(InputError, match="2 arrays are expected"):
        session.bind_kernel("relu", [good])


def test_a_kernel_that_the_library_lacks_is_refused(classifier):
    ghost = dataclasses.replace(classifier.manifest.kernels[1], name="ghost")
    manifest = dataclasses.replace(classifier.manifest, kernels=(ghost,))
    arrays = [aligned_empty((2, 4), "float32") for _ in range(2)]
    with pytest.raises(PackageError, match="no function 'ghost'"):
        Session(Package(manifest, classifier.library)).bind_kernel("ghost", arrays)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (7, 1, 2), ()])
def test_aligned_arrays(shape):
    for dtype in ("uint8", "float32", "bool", "int64"):
        array = aligned_empty(shape, dtype)
        assert array.ctypes.data % ALIGNMENT == 0
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous and array.flags.writeable


def test_sessions_of_different_threads_in_different_threads(classifier, classifier_weight):
    results = {}

    def work(threads: int) -> None:
        session = Session(classifier, threads)
        results[threads] = [session.run(inputs(seed)) for seed in range(50)]

    workers = [threading.Thread(target=work, args=(n,)) for n in range(1, HERE.cores + 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for outputs in results.values():
        for seed, output in enumerate(outputs):
            np.testing.assert_allclose(
                output, expected(inputs(seed), classifier_weight), rtol=1e-5, atol=1e-6
            )
    assert sorted(results) == list(range(1, HERE.cores + 1))


def in_new_process(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_thread_pool_follows_the_session_and_ties_no_core(classifier_file):
    out = in_new_process(
        """
        import os, sys
        import numpy as np
        from bnn_tvm.runtime import Session
        affinity = os.sched_getaffinity(0)
        import tvm_ffi
        for threads in (1, len(affinity), 1):
            Session(sys.argv[1], threads).run(np.zeros((2, 8), np.float32))
            print(tvm_ffi.get_global_func("runtime.NumThreads")() == threads)
        print(os.sched_getaffinity(0) == affinity)
        """,
        classifier_file,
    )
    assert out.split() == ["True"] * 4


def test_a_pool_that_cannot_serve_the_session_is_reported(classifier, monkeypatch):
    classifier.run(inputs())  # the pool starts with as many workers as there are cores
    monkeypatch.setattr(runtime, "_pool", threading.local())
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(1000)))
    with pytest.raises(DeviceError, match="TVM_NUM_THREADS=999"):
        runtime.use_threads(999)


@pytest.mark.parametrize("order", ["compiler first", "runtime first"])
def test_runs_beside_the_compiler_in_either_order(classifier_file, order):
    out = in_new_process(
        """
        import sys
        import numpy as np
        if sys.argv[2] == "compiler first":
            import tvm
        from bnn_tvm.runtime import Session
        x = np.ones((2, 8), np.float32)
        first = Session(sys.argv[1]).run(x)
        import tvm
        from tvm import relax
        tvm.compile(tvm.IRModule(), target="llvm")
        print((Session(sys.argv[1]).run(x) == first).all())
        """,
        classifier_file,
        order,
    )
    assert out.split() == ["True"]


def test_a_missing_tvm_is_reported(classifier, monkeypatch):
    def fail(name):
        raise runtime.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(runtime.importlib.metadata, "version", fail)
    with pytest.raises(ToolchainError, match="pip install"):
        Session(classifier)
