"""What running float layers in lower precision changed, as records of the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PackageError

FLOAT32, BF16, INT8 = "float32", "bf16", "int8"
FLOAT_PRECISIONS = (FLOAT32, BF16, INT8)


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
    """

    float_layers: str
    data: str
    changes: tuple[OutputChange, ...]

    def __post_init__(self) -> None:
        if self.float_layers not in FLOAT_PRECISIONS:
            raise PackageError(f"manifest: unknown precision {self.float_layers!r}")


EXACT = PrecisionInfo(FLOAT32, "", ())
"""Float layers in float32, which changes nothing."""
