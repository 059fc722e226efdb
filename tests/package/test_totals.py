"""Parameters and MACs in all, by hand."""

from __future__ import annotations

import dataclasses

from bnn_tvm.package.manifest import LayerInfo
from bnn_tvm.package.totals import Totals


def layer(op: str, bits: int, weight: tuple[int, ...], macs: int) -> LayerInfo:
    reason = "" if bits < 32 else "float"
    return LayerInfo(
        name=f"{op}{bits}",
        op=op,
        lowered=not reason,
        reason=reason,
        kernel="k",
        input_shape=(1,),
        output_shape=(1,),
        weight_shape=weight,
        weight_bits=bits,
        activation_bits=1,
        macs=macs,
        weight_bytes=0,
        padding="",
        epilogue="",
    )


LAYERS = (
    layer("conv2d", 32, (4, 3, 3, 3), 1000),
    layer("conv2d", 1, (8, 4, 3, 3), 6400),
    layer("dense", 1, (16, 8), 128),
    layer("conv2d", 2, (2, 8, 1, 1), 500),
    layer("conv1d", 4, (2, 2, 1), 50),
    layer("dense", 32, (10, 16), 160),
)


def test_counts_by_bits_and_kind(classifier):
    manifest = dataclasses.replace(classifier.manifest, layers=LAYERS, other_parameters=7)
    assert Totals.of(manifest) == Totals(
        binary_parameters=288 + 128,
        multibit_parameters=16 + 4,
        reduced_parameters=0,
        full_precision_parameters=108 + 160 + 7,
        parameter_bytes=(416 + 2 * 16 + 4 * 4 + 32 * 275) / 8,
        binary_macs=6528,
        multibit_macs=550,
        convolution_macs=1000,
        dense_macs=160,
        flops=1000 + 550 + 6528 / 64,
    )
