"""Pack quantized numbers into words."""

from __future__ import annotations

from tvm import te, tirx
from tvm.ir import Expr

from bnn_tvm.kernels import bits
from bnn_tvm.kernels.border import Element

from .levels import SIGNS, Levels


def pack_levels(
    element: Element, shape: tuple[int, ...], levels: Levels, word_bits: int
) -> te.Tensor:
    """Pack quantized numbers into bit planes, or signs into the one plane that they are.

    Parameters
    ----------
    element : callable
        Gives the number at an index.
    shape : tuple of int
        (..., channels).
    levels : Levels
    word_bits : int

    Returns
    -------
    te.Tensor
        (..., planes * words).
    """
    if levels == SIGNS:
        return bits.pack_elements(element, shape, word_bits)
    scale = levels.top / 2 if levels.signed else float(levels.top)
    offset = -scale * levels.lowest + 0.5

    def index(*at: Expr) -> Expr:
        scaled = element(*at) * tirx.const(scale, "float32") + tirx.const(offset, "float32")
        return scaled.astype("int32")

    return bits.pack_digits(index, shape, levels.bits, word_bits)
