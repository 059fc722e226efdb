"""Convolutions with quantized weights."""

from __future__ import annotations

from typing import Any

from mxnet.gluon.nn import Conv1D, Conv2D, Conv3D

from .config import binary_layer_config
from .functions import Tensor
from .layers import refuse_bias_and_activation
from .offset import OffsetLayer, dot_to_popcount
from .quantizers import weight_quantizer

_PADDING_VALUE = -1
_CHANNEL = 1  # position of C in the layouts that MXNet can pad


def _spatial(value: int | tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    return (value,) * dimensions if isinstance(value, int) else tuple(value)


def _pad_channels_first(ops: Any, x: Tensor, padding: tuple[int, ...]) -> Tensor:
    widths = (0, 0, 0, 0, *(width for width in padding for _ in ("before", "after")))
    return ops.pad(x, mode="constant", pad_width=widths, constant_value=_PADDING_VALUE)


def pad_spatial(ops: Any, x: Tensor, padding: tuple[int, ...], layout: str) -> Tensor:
    """Pad the spatial axes on both sides with -1.

    Parameters
    ----------
    ops : module
        ``mx.nd`` or ``mx.sym``.
    x : NDArray or Symbol
        In ``layout``.
    padding : tuple of int
        One width for each spatial axis.
    layout : str
        NCW, NCHW, NCDHW, NHWC or NDHWC.
    """
    if layout.index("C") != _CHANNEL:
        spatial = tuple(range(1, len(layout) - 1))
        first = ops.transpose(x, axes=(0, len(layout) - 1, *spatial))
        padded = pad_spatial(ops, first, padding, "NC" + layout[1:-1])
        return ops.transpose(padded, axes=(0, *(axis + 1 for axis in spatial), _CHANNEL))
    if len(padding) == 1:  # MXNet pads arrays of four or five axes only
        return ops.squeeze(_pad_channels_first(ops, ops.expand_dims(x, 2), (0, *padding)), axis=2)
    return _pad_channels_first(ops, x, padding)


class QConvolution(OffsetLayer):
    """What the binary convolutions of one to three dimensions share.

    Mixed in before a stock Gluon convolution, which makes the parameters and the convolution.

    The input is not quantized: place a ``QActivation`` before the layer.

    Parameters
    ----------
    channels : int
        Number of output channels.
    kernel_size : int or tuple of int
        Size of the window.
    bits : int, optional
        Bit width of the weights; the configuration's ``bits`` by default. Note its place: stock
        convolutions have the strides there.
    strides, padding, dilation : int or tuple of int
        As in a stock convolution, but **the padding has the value -1**, at every bit width.
    groups : int
        Number of groups.
    layout : str, optional
        NCW, NCHW or NCDHW by default. MXNet has no NWC, and runs NHWC and NDHWC on GPUs only.
    activation, use_bias
        Not supported; there to give a clear error.
    weight_initializer, bias_initializer, in_channels, prefix, params
        As in a stock convolution.
    apply_scaling : bool
        Multiply the output by the mean absolute latent weight of each output channel. The offset
        is then not applied. The gradient flows through the factor unless the configuration's
        approximation is 'xnor' when the layer is constructed.
    quantization : str, optional
        Weight quantizer; the configuration's ``weight_quantization`` by default.
    no_offset : bool
        Return the dot product and not ``(dot + n) / 2``. Other bit widths than 1 always do.

    Raises
    ------
    ValueError
        A bias or an activation is asked for.
    AssertionError
        The weight quantizer does not fit the bit width.

    Notes
    -----
    The latent weight has ``wd_mult = 0``.
    """

    _dimensions: int
    _layout: str

    def __init__(
        self,
        channels: int,
        kernel_size: int | tuple[int, ...],
        bits: int | None = None,
        strides: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        dilation: int | tuple[int, ...] = 1,
        groups: int = 1,
        layout: str | None = None,
        activation: str | None = None,
        use_bias: bool = False,
        weight_initializer: Any = None,
        bias_initializer: Any = "zeros",
        in_channels: int = 0,
        apply_scaling: bool = False,
        quantization: str | None = None,
        no_offset: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_bias_and_activation(use_bias, activation)
        super().__init__(
            channels,
            kernel_size,
            strides=strides,
            padding=0,
            dilation=dilation,
            groups=groups,
            layout=layout or self._layout,
            use_bias=False,
            weight_initializer=weight_initializer,
            bias_initializer=bias_initializer,
            in_channels=in_channels,
            **kwargs,
        )
        self.bits = binary_layer_config.bits if bits is None else bits
        self.padding = _spatial(padding, self._dimensions)
        self.no_offset = no_offset
        self.scaling = apply_scaling
        self.scaling_has_gradient = binary_layer_config.approximation != "xnor"
        method = quantization or binary_layer_config.weight_quantization
        self.quantize = weight_quantizer(method, self.bits)
        self.weight.wd_mult = 0.0

    @property
    def window(self) -> dict[str, tuple[int, ...]]:
        """The window's ``kernel``, ``stride``, ``dilate`` and ``pad``, one number an axis."""
        stock = {name: self._kwargs[name] for name in ("kernel", "stride", "dilate")}
        return {**stock, "pad": self.padding}

    def hybrid_forward(self, F: Any, x: Tensor, weight: Tensor) -> Tensor:  # noqa: N803
        """Convolve one batch in the layer's layout."""
        layout = self._kwargs["layout"]
        if any(self.padding):
            x = pad_spatial(F, x, self.padding, layout)
        out = super().hybrid_forward(F, x, self.quantize(weight))
        if self.scaling:
            return F.broadcast_mul(out, self._scaling(F, weight, layout))
        if self.bits == 1 and not self.no_offset:
            return dot_to_popcount(out, weight, self.weight)
        return out

    def _scaling(self, ops: Any, weight: Tensor, layout: str) -> Tensor:
        """Mean absolute latent weight of each output channel, shaped to multiply the output."""
        mean = ops.mean(ops.abs(weight), axis=0, exclude=True, keepdims=True)
        ones = tuple(range(1, len(layout)))
        channel = layout.index("C")
        scaling = ops.transpose(mean, axes=(*ones[:channel], 0, *ones[channel:]))
        return scaling if self.scaling_has_gradient else ops.BlockGrad(scaling)

    def _alias(self) -> str:
        return "qconv"


class QConv1D(QConvolution, Conv1D):
    """1-D convolution with quantized weights; parameters as of :class:`QConvolution`."""

    _dimensions = 1
    _layout = "NCW"


class QConv2D(QConvolution, Conv2D):
    """2-D convolution with quantized weights; parameters as of :class:`QConvolution`."""

    _dimensions = 2
    _layout = "NCHW"


class QConv3D(QConvolution, Conv3D):
    """3-D convolution with quantized weights; parameters as of :class:`QConvolution`."""

    _dimensions = 3
    _layout = "NCDHW"
