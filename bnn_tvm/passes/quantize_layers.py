"""Pass, by choice only: layers in float multiply 8-bit integers.

Data x becomes ``q = floor(clip(x / s + z + 1/2, 0, 255))`` with one scale s and one zero point z a
tensor, weights become ``v = round(w / t)`` from -127 to 127 with one scale t an output. The sum of
x w is then about ``s t (sum of q v - z sum of v)``; what is in brackets is an exact integer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from tvm import relax
from tvm.ir import IRModule

from .binary import padding_before
from .dataflow import Emitter, constant_of, op_name, rewrite_calls
from .float_layers import change_operands, is_float_layer

_MOST_UNSIGNED, _MOST_SIGNED = 255, 127
_LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Scale:
    """What a byte stands for: ``step * (byte - zero)``.

    Attributes
    ----------
    step : float
        A float32.
    zero : int
        The byte that stands for 0.
    """

    step: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Scale:
        """Spread the bytes over a range; 0 is always in it, and exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = np.float32((high - low) / _MOST_UNSIGNED)
        if not (np.isfinite(step) and step > 0 and np.isfinite(1 / step)):
            return cls(1.0, 0)
        return cls(float(step), round(-low / float(step)))

    def byte(self, value: float) -> int:
        """Quantize one number."""
        return int(np.clip(np.float32(value) * self.factor + self.offset, 0, _MOST_UNSIGNED))

    @property
    def factor(self) -> np.float32:
        """What numbers are multiplied by."""
        return np.float32(1) / np.float32(self.step)

    @property
    def offset(self) -> np.float32:
        """What is added before the fraction is dropped: the zero point, and a half to round."""
        return np.float32(self.zero + 0.5)


def fits_int32(weight: np.ndarray, op: str) -> bool:
    """Tell whether sums of the largest products of a layer fit into 32 bits."""
    fan_in = weight.shape[0] if op == "matmul" else weight.size // weight.shape[0]
    return fan_in * _MOST_UNSIGNED * _MOST_SIGNED <= _LARGEST_INT32


def quantize_layers(mod: IRModule, ranges: Mapping[str, tuple[float, float]]) -> IRModule:
    """Quantize the operands of float layers; expects channels-last data.

    Parameters
    ----------
    mod : IRModule
    ranges : mapping of str to (float, float)
        Name of a layer to the smallest and the largest number that it reads; layers that are not
        in it stay as they are, and those whose sums may not fit into 32 bits.
    """
    return rewrite_calls(mod, _Quantizer(ranges).rewrite)


class _Quantizer:
    def __init__(self, ranges: Mapping[str, tuple[float, float]]):
        self._ranges = ranges
        self._quantized: dict[tuple[relax.Expr, Scale], relax.Var] = {}

    def rewrite(self, emitter: Emitter, call: relax.Call, name: str) -> relax.Expr | None:
        if name not in self._ranges or not is_float_layer(call, emitter.value):
            return None
        if not fits_int32(constant_of(call.args[1]), op_name(call)):
            return None
        scale = Scale.of_range(*self._ranges[name])
        data = self._quantize_data(emitter, call, scale, name)
        weight, steps = quantize_weight(constant_of(call.args[1]), op_name(call))
        sums = change_operands(call, data, relax.const(weight), "int32", padded=True)
        total = weight.astype(np.int32).sum(axis=_summed_axes(weight, op_name(call)))
        zero = relax.const(scale.zero * total, "int32")
        centred = emitter.emit(relax.op.subtract(emitter.emit(sums, name), zero), f"{name}_centre")
        number = emitter.emit(relax.op.astype(centred, "float32"), f"{name}_number")
        return relax.op.multiply(number, relax.const(np.float32(scale.step) * steps))

    def _quantize_data(
        self, emitter: Emitter, call: relax.Call, scale: Scale, name: str
    ) -> relax.Var:
        """Quantize what a layer reads, then pad: a border of bytes is the smaller copy."""
        pad = padding_before(call, emitter.value)
        source = call.args[0] if pad is None else pad.args[0]
        if (source, scale) not in self._quantized:
            self._quantized[source, scale] = _emit_quantize(emitter, source, scale, name)
        data = self._quantized[source, scale]
        widths = _own_padding(call) if pad is None else pad.attrs.pad_width
        if not any(int(width) for width in widths):
            return data
        border = scale.byte(0.0 if pad is None else float(pad.attrs.pad_value))
        return emitter.emit(relax.op.nn.pad(data, widths, pad_value=border), f"{name}_pad")


def _emit_quantize(emitter: Emitter, data: relax.Expr, scale: Scale, name: str) -> relax.Var:
    name = f"{name}_quantize"
    scaled = emitter.emit(relax.op.multiply(data, relax.const(scale.factor)), name)
    shifted = emitter.emit(relax.op.add(scaled, relax.const(scale.offset)), name)
    clipped = emitter.emit(relax.op.clip(shifted, 0, _MOST_UNSIGNED), name)
    return emitter.emit(relax.op.astype(clipped, "uint8"), name)


def _own_padding(call: relax.Call) -> list[int]:
    """Write the padding of a convolution in the form that nn.pad takes."""
    if op_name(call) == "matmul":
        return []
    padding = [int(width) for width in call.attrs.padding]
    rank = len(padding) // 2
    inner = [padding[axis + side * rank] for axis in range(rank) for side in (0, 1)]
    return [0, 0, *inner, 0, 0]


def quantize_weight(weight: np.ndarray, op: str) -> tuple[np.ndarray, np.ndarray]:
    """Quantize the weights of each output to the bytes from -127 to 127.

    Parameters
    ----------
    weight : numpy.ndarray
        Outputs first, of a convolution; (inputs, units) of a ``matmul``.
    op : str
        Name of the operator.

    Returns
    -------
    numpy.ndarray
        int8, of the same shape.
    numpy.ndarray
        (outputs,) float32: what 1 stands for; 1 where all weights are 0.
    """
    axes = _summed_axes(weight, op)
    largest = np.abs(weight).max(axis=axes, keepdims=True)
    steps = largest / np.float32(_MOST_SIGNED)
    steps = np.where(steps > 0, steps, np.float32(1))
    levels = np.clip(np.rint(weight / steps), -_MOST_SIGNED, _MOST_SIGNED)
    return levels.astype(np.int8), steps.reshape(-1).astype(np.float32)


def _summed_axes(weight: np.ndarray, op: str) -> tuple[int, ...]:
    """List the axes of weights that products are summed over: all but the outputs."""
    return (0,) if op == "matmul" else tuple(range(1, weight.ndim))
