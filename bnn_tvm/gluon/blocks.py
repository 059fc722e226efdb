"""Blocks of a quantized activation followed by a binary convolution."""

from __future__ import annotations

from math import prod
from typing import Any

from mxnet.gluon import HybridBlock

from .config import binary_layer_config
from .conv import QConv2D
from .functions import Tensor
from .layers import QActivation

Size = int | tuple[int, int]


class BinaryConvolution(HybridBlock):
    """``QActivation`` followed by ``QConv2D``, whose output is a popcount for 1 bit.

    Parameters
    ----------
    channels : int
        Number of output channels.
    kernel_size, stride, padding, dilation : int or pair of int
        Of the convolution. The padding has the value -1.
    in_channels : int
        Number of input channels; 0 waits for the first input.
    bits, bits_a : int, optional
        Bit width of weights and of activations; the configuration's by default.
    clip_threshold : float, optional
        Gradient-cancelling threshold; the configuration's by default.
    activation_method : str, optional
        Activation quantizer; the configuration's by default.
    prefix : str, optional
        Prefix of the convolution. The children are not in the block's own name scope, so their
        names are such as ``qconv0_weight``.

    Notes
    -----
    Input (N, C, H, W), output (N, channels, H', W').
    """

    _conv_options: dict[str, Any] = {}  # noqa: RUF012 - overridden, never changed

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 3,
        stride: Size = 1,
        padding: Size = 0,
        in_channels: int = 0,
        dilation: Size = 1,
        bits: int | None = None,
        bits_a: int | None = None,
        clip_threshold: float | None = None,
        activation_method: str | None = None,
        prefix: str | None = None,
    ) -> None:
        super().__init__()
        self.qact = QActivation(
            bits=bits_a, gradient_cancel_threshold=clip_threshold, method=activation_method
        )
        self.qconv = QConv2D(
            channels,
            kernel_size,
            bits,
            strides=stride,
            padding=padding,
            in_channels=in_channels,
            dilation=dilation,
            prefix=prefix,
            **self._conv_options,
        )

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Quantize and convolve."""
        return self.qconv(self.qact(x))


class ScaledWeightsBinaryConv(BinaryConvolution):
    """Binary convolution scaled by the mean absolute weight ('binet', arXiv:1808.00278).

    The gradient flows through the scaling. Parameters as of :class:`BinaryConvolution`.
    """

    _conv_options = {"apply_scaling": True}  # noqa: RUF012 - never changed


class ScaledBinaryConv(BinaryConvolution):
    """Binary convolution with scaled weights and inputs ('xnor', arXiv:1603.05279).

    The output is multiplied by K, the mean of ``|x|`` over channels and window (zero padding),
    through which no gradient flows. Parameters as of :class:`BinaryConvolution`; K follows the
    dilation, which BMXNet v2 forgot.
    """

    _conv_options = {"apply_scaling": True, "no_offset": True}  # noqa: RUF012 - never changed

    def hybrid_forward(self, F: Any, x: Tensor) -> Tensor:  # noqa: N803
        """Quantize, convolve and scale."""
        return F.broadcast_mul(self._input_scaling(F, x), super().hybrid_forward(F, x))

    def _input_scaling(self, ops: Any, x: Tensor) -> Tensor:
        magnitude = ops.mean(ops.abs(x), axis=1, keepdims=True)
        kernel = self.qconv.window["kernel"]
        box = ops.full((1, 1, *kernel), 1.0 / prod(kernel))
        mean = ops.Convolution(
            magnitude, box, name="scaling_conv", num_filter=1, no_bias=True, **self.qconv.window
        )
        return ops.BlockGrad(mean)


_BLOCKS: dict[str, type[BinaryConvolution]] = {
    "": BinaryConvolution,
    "binet": ScaledWeightsBinaryConv,
    "xnor": ScaledBinaryConv,
}


def activated_conv(*args: Any, **kwargs: Any) -> BinaryConvolution:
    """Build the block that the configuration's ``approximation`` asks for at this moment.

    Raises
    ------
    AssertionError
        The configuration holds an unknown approximation.
    """
    approximation = binary_layer_config.approximation
    assert approximation in _BLOCKS, (
        f"Approximation '{approximation}' is unknown; choose one of {tuple(_BLOCKS)}."
    )
    return _BLOCKS[approximation](*args, **kwargs)
