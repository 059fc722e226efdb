"""What running float layers in lower precision changed, as records of the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PackageError

FLOAT32, BF16, FP16, TF32, INT8 = "float32", "bf16", "fp16", "tf32", "int8"
FLOAT_PRECISIONS = (FLOAT32, BF16, FP16, TF32, INT8)
"""What can be asked for."""

BF16_WEIGHTS = "bf16 weights"
"""What a layer may get of `BF16`: weights are stored in it, and all is computed in float32."""

LOWERED = (BF16, BF16_WEIGHTS, FP16, TF32, INT8)
"""What a layer can get but `FLOAT32`."""


@dataclass(frozen=True)
class OutputChange:
    """How far an output is from the one that float32 layers give.

    Attributes
    ----------
    name : str
        Of the output.
    largest_absolute, mean_absolute : float
        Of all differences.
    largest_relative, mean_relative : float
        These, divided by the largest and the mean magnitude of the float32 output.
    rows, same_top1 : int
        Rows of an output of two axes, and in how many the largest value stays at its place; 0 of
        other outputs.
    """

    name: str
    largest_absolute: float
    mean_absolute: float
    largest_relative: float
    mean_relative: float
    rows: int
    same_top1: int


@dataclass(frozen=True)
class LayerPrecision:
    """What one layer got of a lower precision.

    Attributes
    ----------
    layer : str
        Its name.
    precision : str
        One of `FLOAT_PRECISIONS`, or `BF16_WEIGHTS`.
    reason : str
        Why, in words.
    """

    layer: str
    precision: str
    reason: str

    def __post_init__(self) -> None:
        _require_known(self.precision, (FLOAT32, *LOWERED))


@dataclass(frozen=True)
class PrecisionInfo:
    """In what the layers that do not run on bits are computed.

    Attributes
    ----------
    float_layers : str
        One of `FLOAT_PRECISIONS`; all that follows is empty for float32.
    data : str
        What outputs were compared on, in words.
    changes : tuple of OutputChange
        One an output.
    layers : tuple of LayerPrecision
        One for each layer that does not run on bits, in order of execution.
    """

    float_layers: str
    data: str
    changes: tuple[OutputChange, ...]
    layers: tuple[LayerPrecision, ...]

    def __post_init__(self) -> None:
        _require_known(self.float_layers, FLOAT_PRECISIONS)


def _require_known(precision: str, known: tuple[str, ...]) -> None:
    if precision not in known:
        raise PackageError(f"manifest: unknown precision {precision!r}")


EXACT = PrecisionInfo(FLOAT32, "", (), ())
"""Float layers in float32, which changes nothing."""
