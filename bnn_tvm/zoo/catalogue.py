"""The networks by name, and their options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from mxnet.gluon import HybridBlock

from ..errors import ModelError
from ..gluon import nn
from .densenet import DENSENET, densenet
from .lenet import LeNetConfig, build_lenet
from .meliusnet import MELIUSNET, meliusnet
from .resnet_e import RESNET_E, resnet_e

# Option of a network -> value of the binary layers' configuration
_LAYER_OPTIONS = {
    "bits": "bits",
    "bits_a": "bits_a",
    "clip_threshold": "grad_cancel",
    "activation_method": "activation",
    "weight_quantization": "weight_quantization",
    "approximation": "approximation",
}


@dataclass(frozen=True)
class _Model:
    build: Callable[..., HybridBlock]
    config: Any

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(field.name for field in fields(self.config))

    def configured(self, name: str, options: dict[str, Any]) -> Any:
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ModelError(
                f"Network '{name}' has no option '{unknown[0]}'. "
                f"Choose from: {', '.join([*_LAYER_OPTIONS, *self.options])}."
            )
        return replace(self.config, **options)


_MODELS: dict[str, _Model] = {
    "lenet": _Model(build_lenet, LeNetConfig()),
    **{name: _Model(resnet_e, config) for name, config in RESNET_E.items()},
    **{name: _Model(densenet, config) for name, config in DENSENET.items()},
    **{name: _Model(meliusnet, config) for name, config in MELIUSNET.items()},
}

# The names that papers and other model zoos use.
_ALIASES = {
    "resnete18": "resnet18_e1",
    "resnete34": "resnet34_e1",
    **{f"binary{name}": name for name in DENSENET},
}


def model_names() -> tuple[str, ...]:
    """Return the names that :func:`get_model` knows, without the aliases."""
    return tuple(_MODELS)


def model_options(name: str) -> tuple[str, ...]:
    """Return the names of the options that a network has besides those of the binary layers.

    Raises
    ------
    ModelError
        No network has that name.
    """
    return _find(name).options


def _find(name: str) -> _Model:
    name = _ALIASES.get(name, name)
    if name not in _MODELS:
        raise ModelError(f"Network '{name}' is unknown. Choose one of: {', '.join(_MODELS)}.")
    return _MODELS[name]


def get_model(
    name: str, *, prefix: str | None = None, params: Any = None, **options: Any
) -> HybridBlock:
    """Build a network by its name.

    Parameters
    ----------
    name : str
        One of :func:`model_names`, or an alias: ``resnete18``, ``resnete34``, ``binarydensenet28``
        and so on.
    prefix, params
        Of a Gluon block. The prefix is fixed by default, so that an exported file has the same
        names every time.
    **options
        Of the binary layers: ``bits`` and ``bits_a`` (bit width of weights and of activations;
        ``bits_a`` follows ``bits``), ``clip_threshold``, ``activation_method``,
        ``weight_quantization``, ``approximation``; the configuration's values by default. All
        others are the fields of the family's configuration, such as ``classes``.

    Returns
    -------
    HybridBlock
        Maps images to logits (N, classes). Hybridize or export it whenever you like: every shape
        is known from the start.

    Raises
    ------
    ModelError
        No network has that name, it lacks an option, or the options do not fit together.
    """
    model = _find(name)
    values = _layer_values(options)
    structure = {key: value for key, value in options.items() if key not in _LAYER_OPTIONS}
    config = model.configured(name, structure)
    try:
        with nn.set_binary_layer_config(**values) as layers:
            _refuse_replaced_values(name, values, layers)
            return model.build(config, prefix=prefix, params=params)
    except AssertionError as error:
        raise ModelError(f"Network '{name}' cannot be built: {error}") from error


def _layer_values(options: dict[str, Any]) -> dict[str, Any]:
    values = {new: options[old] for old, new in _LAYER_OPTIONS.items() if old in options}
    if values.get("bits_a") is None:
        values["bits_a"] = values.get("bits")
    return values


def _refuse_replaced_values(
    name: str, values: dict[str, Any], layers: nn.BinaryLayerConfig
) -> None:
    """Raise for a method that the configuration replaced, as the bit width does not allow it."""
    for key, value in values.items():
        used = getattr(layers, key)
        if value not in (None, used):
            raise ModelError(
                f"Network '{name}' cannot have {key}='{value}' with bits={layers.bits} and "
                f"bits_a={layers.bits_a}. Choose a method of these bit widths, such as '{used}'."
            )
