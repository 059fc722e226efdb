"""Quantized activation and dense layer."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import HybridBlock
from mxnet.gluon.nn import Dense

from .config import binary_layer_config
from .functions import Tensor, gradcancel
from .offset import OffsetLayer, dot_to_popcount
from .quantizers import activation_quantizer, weight_quantizer


def refuse_bias_and_activation(use_bias: bool, activation: str | None) -> None:
    """Raise ValueError for the arguments of a float layer that binary layers do not have."""
    if use_bias:
        raise ValueError("Bias is not supported for a binary layer.")
    if activation is not None:
        raise ValueError(
            f"Activation '{activation}' is not supported for a binary layer. "
            "Place a QActivation before the layer instead."
        )


class QActivation(HybridBlock):
    """Quantize activations; the gradient stops where the input is large.

    Parameters
    ----------
    bits : int, optional
        Bit width; the configuration's ``bits_a`` by default.
    gradient_cancel_threshold : float, optional
        The gradient passes where ``|x|`` is at most this; 0 or None takes the configuration's.
    method : str, optional
        Name of the quantizer; the configuration's ``activation`` by default.
    *args, **kwargs
        ``prefix`` and ``params`` of a Gluon block.

    Raises
    ------
    AssertionError
        The method does not fit the bit width.

    Notes
    -----
    Input and output have the same shape and dtype.
    """

    def __init__(
        self,
        *args: Any,
        bits: int | None = None,
        gradient_cancel_threshold: float | None = None,
        method: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.bits = binary_layer_config.bits_a if bits is None else bits
        self.threshold = gradient_cancel_threshold or binary_layer_config.grad_cancel
        self.method = method or binary_layer_config.activation
        self.quantize = activation_quantizer(self.method, self.bits)

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Quantize one tensor."""
        return self.quantize(gradcancel(x, self.threshold))

    def __repr__(self) -> str:
        return (
            f"QActivation(bits={self.bits}, method={self.method}, "
            f"gradient_cancel_threshold={self.threshold})"
        )


class QDense(OffsetLayer, Dense):
    """Dense layer with quantized weights.

    The input is not quantized: place a :class:`QActivation` before the layer.

    Parameters
    ----------
    units : int
        Number of outputs.
    bits : int, optional
        Bit width of the weights; the configuration's ``bits`` by default.
    activation, use_bias
        Not supported; there to give a clear error.
    no_offset : bool
        Return the dot product and not ``(dot + inputs) / 2``.
    **kwargs
        As of ``mxnet.gluon.nn.Dense``.

    Raises
    ------
    ValueError
        A bias or an activation is asked for.
    AssertionError
        The configuration's weight quantizer does not fit the bit width.

    Notes
    -----
    The offset is applied for every bit width, as in BMXNet v2. The latent weight has
    ``wd_mult = 0``.
    """

    def __init__(
        self,
        units: int,
        bits: int | None = None,
        activation: str | None = None,
        use_bias: bool = False,
        no_offset: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_bias_and_activation(use_bias, activation)
        super().__init__(units, use_bias=False, **kwargs)
        self.bits = binary_layer_config.bits if bits is None else bits
        self.no_offset = no_offset
        self.quantize = weight_quantizer(binary_layer_config.weight_quantization, self.bits)
        self.weight.wd_mult = 0.0

    def hybrid_forward(self, F: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: N803
        """Map (batch, inputs) to (batch, units)."""
        dot = super().hybrid_forward(F, x, self.quantize(weight))
        return dot if self.no_offset else dot_to_popcount(dot, weight, self.weight)

    def _alias(self) -> str:
        return "qdense"
