"""All that decides the result of a training, and the published recipes as presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from bnn_tvm.errors import InputError


def _option(default: Any, text: str, *choices: str, parse: Any = None, alias: str = "") -> Any:
    metadata = {"help": text, "choices": choices, "parse": parse or type(default), "alias": alias}
    return field(default=default, metadata=metadata)


def _numbers(kind: type) -> Any:
    return lambda text: tuple(kind(part) for part in text.split(","))


@dataclass(frozen=True)
class Settings:
    """The options of a training, in groups; the texts of all fields are those of the command.

    None stands for the network's own default.
    """

    dataset: str = _option("mnist", "What to learn.", "mnist", "cifar10", "cifar100", "imagenet")
    model: str = _option("resnet18_e1", "Name of the network in bnn_tvm.zoo.")
    epochs: int = _option(120, "Passes over the training images.")
    batch_size: int = _option(128, "Images of one step, over all devices.")
    seed: int = _option(123, "Decides the first weights, the order and the augmentation.")
    validation: float = _option(0.0, "Share of the training images that choose the best epoch.")
    limit: int = _option(0, "Train with the first so many images only; 0: all.")
    augmentation: str = _option("medium", "How much images are varied.", "low", "medium", "high")
    image_size: int = _option(224, "Height and width of ImageNet's images.")

    bits: int = _option(1, "Bit width of the weights.")
    bits_a: int | None = _option(None, "Bit width of the activations; as --bits.", parse=int)
    clip_threshold: float = _option(1.3, "The sign's gradient stops where |x| is above this.")
    activation_method: str | None = _option(None, "Quantizer of the activations.", parse=str)
    weight_quantization: str | None = _option(None, "Quantizer of the weights.", parse=str)
    approximation: str = _option("", "Scaling of binary convolutions.", "", "binet", "xnor")

    initial_layers: str | None = _option(
        None, "The stem; by the size of the images.", "imagenet", "grouped_stem", "thumbnail"
    )
    fp_downsample_sc: bool | None = _option(None, "ResNetE: float shortcuts.", parse=bool)
    pool_downsample_sc: bool | None = _option(None, "ResNetE: pool in shortcuts.", parse=bool)
    downsample_sc_groups: int | None = _option(None, "ResNetE: groups of shortcuts.", parse=int)
    slices: int | None = _option(None, "ResNetE: parts of a unit, 1, 2, 4 or 8.", parse=int)
    block_config: tuple[int, ...] | None = _option(
        None, "DenseNet, MeliusNet: blocks of each stage, as 6,6,6,5.", parse=_numbers(int)
    )
    reduction: tuple[float, ...] | None = _option(
        None,
        "DenseNet, MeliusNet: divisors of the channels, as 2.7,2.7,2.2.",
        parse=_numbers(float),
    )
    growth_rate: int | None = _option(None, "DenseNet, MeliusNet: channels of a block.", parse=int)
    init_features: int | None = _option(None, "DenseNet, MeliusNet: channels of stem.", parse=int)
    downsample_structure: str | None = _option(
        None, "DenseNet, MeliusNet: layers of a transition, as bn,max_pool,relu,fp_conv.", parse=str
    )
    dilated: bool | None = _option(None, "DenseNet, MeliusNet: dilate stages.", parse=bool)

    optimizer: str = _option("adam", "How weights are updated.", "adam", "radam", "sgd")
    lr: float = _option(0.002, "Learning rate at the start.", alias="--learning-rate")
    lr_mode: str = _option("cosine", "How the rate falls.", "cosine", "poly", "step")
    lr_steps: tuple[float, ...] = _option((30, 60, 90), "Epochs of steps.", parse=_numbers(float))
    lr_factor: float = _option(0.1, "What each step multiplies the rate by.")
    warmup_epochs: float = _option(0.0, "Epochs in which the rate grows to its start value.")
    warmup_lr: float = _option(0.0, "Where the warm-up begins.")
    momentum: float = _option(0.9, "Of sgd.")
    wd: float = _option(0.0, "Weight decay; never of binary weights and BatchNorm.")
    initialization: str = _option(
        "gaussian",
        "First weights.",
        *("gaussian", "default", "msraprelu_avg", "msraprelu_in", "lenet"),
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            _demand(getattr(self, name) > 0, name, getattr(self, name), "a positive number")
        _demand(0 <= self.validation < 1, "validation", self.validation, "0 or more, less than 1")
        _demand(self.limit >= 0, "limit", self.limit, "0 or more")

    def network_options(self) -> dict[str, Any]:
        """Options of the network that are set, by their names in ``get_model``."""
        values = {name: getattr(self, name) for name in _NETWORK_OPTIONS}
        return {name: value for name, value in values.items() if value is not None}

    def as_record(self) -> dict[str, Any]:
        """All values in the types of JSON."""
        record = asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in record.items()}


_NETWORK_OPTIONS = (
    *("bits", "bits_a", "clip_threshold", "activation_method", "weight_quantization"),
    *("approximation", "initial_layers", "fp_downsample_sc", "pool_downsample_sc"),
    *("downsample_sc_groups", "slices", "block_config", "reduction", "growth_rate"),
    *("init_features", "downsample_structure", "dilated"),
)


def _demand(right: bool, name: str, value: Any, allowed: str) -> None:
    if not right:
        option = name.replace("_", "-")
        raise InputError(f"Option --{option}={value} is not possible. Give {allowed}.")


_IMAGENET = Settings(dataset="imagenet", optimizer="radam", validation=0.01)
_CIFAR = Settings(
    dataset="cifar10", epochs=150, lr=0.02, warmup_epochs=5, augmentation="low", validation=0.1
)

# Where a recipe has a published result, it is that of BMXNet v2's wiki; see docs/zoo.md.
RECIPES: Mapping[str, Settings] = MappingProxyType(
    {
        "mnist-lenet": Settings(
            model="lenet", epochs=40, batch_size=50, seed=0, initialization="lenet"
        ),
        "mnist-resnete18": Settings(epochs=6, batch_size=25, validation=0.1),
        "cifar10-resnete18": replace(_CIFAR, model="resnet18_e1"),
        "cifar10-resnete34": replace(_CIFAR, model="resnet34_e1"),
        "cifar100-resnete18": replace(_CIFAR, dataset="cifar100", model="resnet18_e1"),
        "imagenet-resnete18": replace(_IMAGENET, model="resnet18_e1"),
        "imagenet-resnete34": replace(_IMAGENET, model="resnet34_e1"),
        **{
            f"imagenet-{model}": replace(_IMAGENET, model=model)
            for model in ("densenet28", "densenet37", "densenet45", "meliusnet22", "meliusnet29")
        },
        **{
            f"imagenet-{model.replace('_', '-')}": replace(
                _IMAGENET, model=model, initial_layers="grouped_stem"
            )
            for model in ("meliusnet42", "meliusnet_a", "meliusnet_b", "meliusnet_c")
        },
        "imagenet-meliusnet59": replace(
            _IMAGENET,
            model="meliusnet59",
            initial_layers="grouped_stem",
            optimizer="adam",
            lr=0.003,
            batch_size=256,
        ),
    }
)
