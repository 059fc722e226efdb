"""The report of a package: what was lowered, what was not and why, and what it saves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace

from .bundle import Package
from .c_package import CPackage
from .fields import encode
from .manifest import KernelInfo, LayerInfo, Manifest, NodeInfo, TargetInfo
from .precision import PrecisionInfo
from .totals import Totals

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Summary:
    """What a compilation came to.

    Attributes
    ----------
    name : str
        The model's name.
    target : TargetInfo
    versions : dict of str to str
    package_bytes : int or None
        Size of the package file; None if there is no code yet.
    library_bytes : int or None
        Size of the library in it when unpacked, or of the object with kernels and weights.
    float_weight_bytes : int
        What the convolution and dense weights take as float32.
    weight_bytes : int
        What they take in the library.
    totals : Totals
    layers : tuple of LayerInfo
    kernels : tuple of KernelInfo
    graph : tuple of NodeInfo
    images_at_a_time : int
        Of a batch; 0 if all run together.
    precision : PrecisionInfo
    """

    name: str
    target: TargetInfo
    versions: dict[str, str]
    package_bytes: int | None
    library_bytes: int | None
    float_weight_bytes: int
    weight_bytes: int
    totals: Totals
    layers: tuple[LayerInfo, ...]
    kernels: tuple[KernelInfo, ...]
    graph: tuple[NodeInfo, ...]
    images_at_a_time: int
    precision: PrecisionInfo

    @classmethod
    def of(cls, package: Package | CPackage) -> Summary:
        """Summarise a package."""
        return replace(
            cls.of_manifest(package.manifest),
            package_bytes=len(package.to_bytes()),
            library_bytes=len(package.library),
        )

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Summary:
        """Summarise a model that was lowered, but for which no code was generated."""
        return cls(
            name=manifest.name,
            target=manifest.target,
            versions=manifest.versions,
            package_bytes=None,
            library_bytes=None,
            float_weight_bytes=sum(_float_bytes(layer) for layer in manifest.layers),
            weight_bytes=sum(layer.weight_bytes for layer in manifest.layers),
            totals=Totals.of(manifest),
            layers=manifest.layers,
            kernels=manifest.kernels,
            graph=manifest.graph,
            images_at_a_time=manifest.images_at_a_time,
            precision=manifest.precision,
        )

    @property
    def lowered(self) -> int:
        """Number of layers that run on packed bits."""
        return sum(layer.lowered for layer in self.layers)

    def to_json(self) -> str:
        """Write the summary as JSON text."""
        return json.dumps(encode(self), indent=1, sort_keys=True) + "\n"


def _float_bytes(layer: LayerInfo) -> int:
    return _FLOAT_BYTES * math.prod(layer.weight_shape)
