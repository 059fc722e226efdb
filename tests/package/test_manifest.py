"""The manifest: strict JSON both ways."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnn_tvm.errors import PackageError
from bnn_tvm.package.manifest import (
    DTYPE_BYTES,
    KERNEL_SOURCES,
    FileInfo,
    KernelInfo,
    LayerInfo,
    Manifest,
    NodeInfo,
    TargetInfo,
    TensorInfo,
)

names = st.text(max_size=8)
counts = st.integers(min_value=0, max_value=1 << 40)
extents = st.lists(st.integers(1, 64), max_size=4).map(tuple)
tensors = st.builds(TensorInfo, names, extents, st.sampled_from(sorted(DTYPE_BYTES)), names)


@st.composite
def kernels(draw) -> KernelInfo:
    arguments = draw(st.lists(tensors, min_size=1, max_size=3).map(tuple))
    return KernelInfo(
        name=draw(names),
        kind=draw(names),
        layers=draw(st.lists(names, max_size=2).map(tuple)),
        arguments=arguments,
        num_outputs=draw(st.integers(1, len(arguments))),
        macs=draw(counts),
        binary=draw(st.booleans()),
        rule=draw(names),
        source=draw(st.sampled_from(KERNEL_SOURCES)),
        note=draw(names),
    )


@st.composite
def layers(draw) -> LayerInfo:
    lowered = draw(st.booleans())
    return LayerInfo(
        name=draw(names),
        op="conv2d",
        lowered=lowered,
        reason="" if lowered else "because " + draw(names),
        kernel=draw(names),
        input_shape=draw(extents),
        output_shape=draw(extents),
        weight_shape=draw(extents),
        weight_bits=1,
        activation_bits=1,
        macs=draw(counts),
        weight_bytes=draw(counts),
        padding=draw(names),
        epilogue=draw(names),
    )


@st.composite
def manifests(draw) -> Manifest:
    def some(strategy, key=lambda item: item):
        return tuple(draw(st.lists(strategy, max_size=2, unique_by=key)))

    return Manifest(
        schema_version=1,
        name=draw(names),
        versions=draw(st.dictionaries(names, names, max_size=2)),
        target=TargetInfo(draw(names), "x86_64-linux-gnu", "znver4", some(names), 4),
        inputs=some(tensors, lambda item: item.name),
        outputs=some(tensors),
        kernels=some(kernels(), lambda item: item.name),
        layers=some(layers()),
        other_parameters=draw(counts),
        graph=(NodeInfo(draw(names), "input", "", "", ()), NodeInfo("y", "add", "k", "", (0, 0))),
        files=some(st.builds(FileInfo, names, names, counts, names)),
    )


@given(manifests())
def test_json_round_trip_is_exact(manifest):
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_equal_manifests_have_equal_text(classifier):
    copy = dataclasses.replace(
        classifier.manifest, versions=dict(reversed(classifier.manifest.versions.items()))
    )
    assert copy.to_json() == classifier.manifest.to_json()


def places(value, path=()):
    """Every object in a JSON value, with the path to it."""
    if isinstance(value, dict):
        yield path, value
        for key, item in value.items():
            yield from places(item, (*path, key))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def objects_of(manifest) -> list[tuple]:
    found = [path for path, _ in places(json.loads(manifest.to_json()))]
    return [path for path in found if path != ("versions",)]


def at(data, path):
    for key in path:
        data = data[key]
    return data


def test_unknown_key_is_refused_in_every_object(classifier):
    for path in objects_of(classifier.manifest):
        data = json.loads(classifier.manifest.to_json())
        at(data, path)["surprise"] = 1
        with pytest.raises(PackageError, match="unknown key 'surprise'"):
            Manifest.from_json(json.dumps(data))


def test_each_missing_key_is_refused_in_every_object(classifier):
    text = classifier.manifest.to_json()
    for path in objects_of(classifier.manifest):
        for key in at(json.loads(text), path):
            data = json.loads(text)
            del at(data, path)[key]
            with pytest.raises(PackageError, match=f"lacks the key '{key}'"):
                Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("name",), 3, "manifest.name must be str, not int"),
        (("inputs",), {}, "manifest.inputs must be a list, not dict"),
        (("inputs", 0), [], "manifest.inputs[0] must be a table"),
        (("inputs", 0, "shape", 1), 2.0, "manifest.inputs[0].shape[1] must be int, not float"),
        (("inputs", 0, "shape", 1), True, "shape[1] must be int, not bool"),
        (("inputs", 0, "shape", 1), 0, "extent below 1"),
        (("inputs", 0, "shape", 1), -1, "extent below 1"),
        (("inputs", 0, "dtype"), "float33", "unknown dtype 'float33'"),
        (("kernels", 0, "binary"), 1, "binary must be bool, not int"),
        (("kernels", 0, "source"), "guess", "unknown schedule source"),
        (("kernels", 0, "num_outputs"), 4, "4 outputs among 3 arguments"),
        (("kernels", 1, "name"), "matmul", "names one kernel twice"),
        (("layers", 0, "reason"), "", "a reason belongs to a layer"),
        (("layers", 0, "lowered"), True, "a reason belongs to a layer"),
        (("graph", 1, "inputs"), [1], "node 'fc' reads what does not come before it"),
        (("graph", 1, "inputs"), [-1], "node 'fc' reads what does not come before it"),
        (("versions", "tvm"), None, "manifest.versions.tvm must be str"),
        (("schema_version",), 2, "schema version 2 is not 1"),
        (("schema_version",), True, "schema_version must be int, not bool"),
        (("target",), "x86", "manifest.target must be a table"),
    ],
)
def test_wrong_values_are_refused_by_name(classifier, path, value, message):
    data = json.loads(classifier.manifest.to_json())
    at(data, path[:-1])[path[-1]] = value
    with pytest.raises(PackageError) as caught:
        Manifest.from_json(json.dumps(data))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"schema_version": 9}'])
def test_other_texts_are_refused(text):
    with pytest.raises(PackageError):
        Manifest.from_json(text)


def test_kernel_lookup_names_the_known_ones(classifier):
    assert classifier.manifest.kernel("relu").layers == ("fc_relu",)
    with pytest.raises(PackageError, match="no kernel 'conv'; it has matmul, relu"):
        classifier.manifest.kernel("conv")


def test_tensor_bytes():
    assert TensorInfo("x", (2, 3), "uint32", "").nbytes == 24
