"""What a kernel is called with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from tvm import te


@dataclass
class Operands:
    """Placeholders of a kernel with what they stand for, in order of first use.

    Attributes
    ----------
    tensors : list of te.Tensor
    sources : list of int or numpy.ndarray
        The position of a parameter of the region's function, or a constant.
    """

    tensors: list[te.Tensor] = field(default_factory=list)
    sources: list[int | np.ndarray] = field(default_factory=list)

    def parameter(self, position: int, shape: tuple[int, ...], dtype: str) -> te.Tensor:
        """Add a parameter of the region's function."""
        return self._add(position, te.placeholder(shape, dtype, f"argument{position}"))

    def constant(self, array: np.ndarray, name: str = "") -> te.Tensor:
        """Add an array, with a name if schedules must find it."""
        name = name or f"constant{len(self.tensors)}"
        return self._add(array, te.placeholder(array.shape, str(array.dtype), name))

    def _add(self, source: int | np.ndarray, tensor: te.Tensor) -> te.Tensor:
        self.tensors.append(tensor)
        self.sources.append(source)
        return tensor
