"""The reader of `.params` against files of MXNet, files written by hand, and damage."""

from __future__ import annotations

import struct

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn_tvm.errors import ModelError
from bnn_tvm.importer.params import parse_params, read_params

DTYPE_FLAGS = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6, "?": 7, "u8": 11}
CONTEXT = struct.pack("<ii", 1, 0)
VALUES = np.arange(6).reshape(2, 3)


def legacy_header(shape):
    return struct.pack(f"<I{len(shape)}I", len(shape), *shape)


def versioned_header(magic, *storage):
    def header(shape):
        rank = struct.pack(f"<I{len(storage)}ii", magic, *storage, len(shape))
        return rank + struct.pack(f"<{len(shape)}q", *shape)

    return header


HEADERS = {
    "legacy": legacy_header,
    "V1": versioned_header(0xF993FAC8),
    "V2": versioned_header(0xF993FAC9, 0),
    "V3": versioned_header(0xF993FACA, 0),
}


def array_bytes(array, header=legacy_header, flag=0):
    return header(array.shape) + CONTEXT + struct.pack("<i", flag) + array.tobytes()


def file_bytes(arrays: dict[str, bytes]) -> bytes:
    names = b"".join(struct.pack("<Q", len(n.encode())) + n.encode() for n in arrays)
    count = struct.pack("<Q", len(arrays))
    return struct.pack("<QQ", 0x112, 0) + count + b"".join(arrays.values()) + count + names


def example() -> bytes:
    first = array_bytes(VALUES.astype("f4"))
    second = array_bytes(np.ones(3, "f8"), HEADERS["V2"], flag=1)
    return file_bytes({"arg:weight": first, "aux:mean": second})


def test_a_file_that_mxnet_wrote(tmp_path):
    dtypes = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"]
    saved = {f"arg:{d}": mx.nd.array(VALUES, dtype=d) for d in dtypes}
    path = tmp_path / "x-0000.params"
    mx.nd.save(str(path), saved)
    read = read_params(path)
    assert list(read) == list(saved)
    for dtype in dtypes:
        assert read[f"arg:{dtype}"].dtype == dtype
        np.testing.assert_array_equal(read[f"arg:{dtype}"], VALUES.astype(dtype))


def test_a_file_of_numpy_semantics_with_a_scalar(tmp_path):
    path = tmp_path / "x-0000.params"
    with mx.util.np_shape(True):
        mx.nd.save(str(path), {"arg:scalar": mx.np.array(3.0).as_nd_ndarray()})
    assert read_params(path)["arg:scalar"].shape == ()


@pytest.mark.parametrize("version", HEADERS)
@pytest.mark.parametrize("code", DTYPE_FLAGS)
def test_every_header_and_dtype(version, code):
    array = VALUES.astype(code)
    content = file_bytes({"arg:x": array_bytes(array, HEADERS[version], DTYPE_FLAGS[code])})
    read = parse_params(content)["arg:x"]
    assert read.dtype == array.dtype and read.flags.writeable
    np.testing.assert_array_equal(read, array)


def test_bfloat16_is_widened():
    bits = np.array([0x3F80, 0xC020], "<u2")
    read = parse_params(file_bytes({"x": array_bytes(bits, flag=12)}))["x"]
    np.testing.assert_array_equal(read, np.array([1.0, -2.5], np.float32))


def test_nan_patterns_keep_their_bits():
    words = np.array([0x7F800001, 0xFFFFFFFF, 0x00000001, 0x7FC12345], "<u4")
    read = parse_params(file_bytes({"x": array_bytes(words.view("<f4"))}))["x"]
    np.testing.assert_array_equal(read.view(np.uint32), words)


@pytest.mark.parametrize("size", range(len(example())))
def test_every_truncation_is_a_model_error(size):
    with pytest.raises(ModelError):
        parse_params(example()[:size])


def test_trailing_bytes_are_refused():
    with pytest.raises(ModelError, match="1 bytes follow"):
        parse_params(example() + b"\0")


DAMAGED = {
    "magic": (struct.pack("<QQQQ", 0x113, 0, 0, 0), "NDArray list"),
    "count": (struct.pack("<QQQ", 0x112, 0, 2**60), "claims"),
    "rank": (file_bytes({"x": struct.pack("<I", 33)}), "33 dimensions"),
    "huge": (file_bytes({"x": legacy_header((2**31, 2**31)) + CONTEXT + b"\0" * 4}), "the data of"),
    "negative": (file_bytes({"x": HEADERS["V2"]((-1, 2)) + CONTEXT + b"\0" * 4}), "positive"),
    "empty": (file_bytes({"x": legacy_header((2**32 - 1,) * 3 + (0,)) + CONTEXT}), "positive"),
    "dtype": (file_bytes({"x": array_bytes(np.ones(1, "f4"), flag=77)}), "unknown dtype 77"),
    "sparse": (file_bytes({"x": versioned_header(0xF993FAC9, 1)((2,))}), "storage type 1"),
    "unnamed": (
        struct.pack("<QQQ", 0x112, 0, 1) + array_bytes(np.ones(1, "f4")) + struct.pack("<Q", 0),
        "1 arrays and 0 names",
    ),
    "name": (
        struct.pack("<QQQ", 0x112, 0, 1)
        + array_bytes(np.ones(1, "f4"))
        + struct.pack("<QQ", 1, 1)
        + b"\xff",
        "UTF-8",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name):
    content, message = DAMAGED[name]
    with pytest.raises(ModelError, match=message):
        parse_params(content)


def test_a_repeated_name_is_refused():
    one = array_bytes(np.ones(1, "f4"))
    body = struct.pack("<QQQ", 0x112, 0, 2) + one + one
    names = struct.pack("<QQ", 2, 1) + b"x" + struct.pack("<Q", 1) + b"x"
    with pytest.raises(ModelError, match="more than once"):
        parse_params(body + names)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.params cannot be read"):
        read_params(tmp_path / "none.params")


@given(st.integers(0, len(example()) - 1), st.integers(0, 255))
def test_a_changed_byte_gives_arrays_or_a_model_error(position, value):
    content = bytearray(example())
    content[position] = value
    try:
        parse_params(bytes(content))
    except ModelError as error:
        assert ";" in str(error)


@given(st.binary(max_size=200))
def test_noise_after_the_magic_gives_arrays_or_a_model_error(noise):
    try:
        parse_params(struct.pack("<QQ", 0x112, 0) + noise)
    except ModelError as error:
        assert ";" in str(error)
