"""Defaults of the binary layers, read when a layer is constructed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .quantizers import activation_methods, weight_methods

_APPROXIMATIONS = ("", "binet", "xnor")


class BinaryLayerConfig:
    """The values that a binary layer takes where its own arguments are None.

    Parameters
    ----------
    grad_cancel : float
        Threshold of ``|x|`` above which ``QActivation`` cancels the gradient.
    bits, bits_a : int
        Bit width of weights and of activations: 1, 32 (full precision) or any other.
    activation, weight_quantization : str
        Quantizer of activations and of weights.
    approximation : {'', 'binet', 'xnor'}
        What ``activated_conv`` builds: no scaling, scaled weights, or scaled weights and inputs.

    Raises
    ------
    AssertionError
        ``approximation`` is none of the three.
    """

    def __init__(
        self,
        grad_cancel: float = 1.0,
        bits: int = 1,
        bits_a: int = 1,
        activation: str = "det_sign",
        weight_quantization: str = "det_sign",
        approximation: str = "",
    ) -> None:
        assert approximation in _APPROXIMATIONS, (
            f"Approximation '{approximation}' is unknown; choose one of {_APPROXIMATIONS}."
        )
        self.grad_cancel = grad_cancel
        self.bits = bits
        self.bits_a = bits_a
        self.activation = activation
        self.weight_quantization = weight_quantization
        self.approximation = approximation

    def set_values(self, assure_consistency: bool = True, **values: Any) -> None:
        """Change some values.

        Parameters
        ----------
        assure_consistency : bool
            Replace a method that the bit width does not allow by the bit width's default.
        **values
            Attributes and their new values; None keeps the old value.

        Raises
        ------
        AssertionError
            A name is no attribute of the configuration.
        """
        for name, value in values.items():
            assert name in vars(self), (
                f"Binary layers have no option '{name}'; there are: {', '.join(vars(self))}."
            )
            if value is not None:
                setattr(self, name, value)
        if assure_consistency:
            self._replace_unsupported_methods()

    def get_values(self) -> dict[str, Any]:
        """Return a copy of all values by name."""
        return dict(vars(self))

    def _replace_unsupported_methods(self) -> None:
        if self.activation not in activation_methods(self.bits_a):
            self.activation = activation_methods(self.bits_a)[0]
        if self.weight_quantization not in weight_methods(self.bits):
            self.weight_quantization = weight_methods(self.bits)[0]


binary_layer_config = BinaryLayerConfig()


@contextmanager
def set_binary_layer_config(**values: Any) -> Iterator[BinaryLayerConfig]:
    """Change defaults for the layers that are constructed inside a ``with`` block.

    Parameters
    ----------
    **values
        As of :meth:`BinaryLayerConfig.set_values`.

    Yields
    ------
    BinaryLayerConfig
        The changed configuration. All values are restored at the end. Not thread safe.
    """
    saved = binary_layer_config.get_values()
    try:
        binary_layer_config.set_values(**values)
        yield binary_layer_config
    finally:
        binary_layer_config.set_values(assure_consistency=False, **saved)
