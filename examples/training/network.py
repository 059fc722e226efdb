"""The network of a training, its first weights and its optimizer."""

from __future__ import annotations

from typing import Any

import mxnet as mx
from mxnet.gluon import HybridBlock, Trainer

from bnn_tvm.zoo import get_model, model_options
from training.datasets import Data
from training.radam import RAdam
from training.settings import Settings

_SMALL_IMAGE = 50  # pixels; below it the stem must not reduce the size

_INITIALIZERS = {
    "gaussian": lambda: mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2),
    "default": lambda: mx.init.Xavier(magnitude=2),
    "msraprelu_avg": lambda: mx.init.MSRAPrelu(),
    "msraprelu_in": lambda: mx.init.MSRAPrelu(factor_type="in"),
    "lenet": lambda: mx.init.Xavier(magnitude=2.24),
}

_OPTIMIZERS = {
    "adam": lambda settings: mx.optimizer.Adam(wd=settings.wd),
    "radam": lambda settings: RAdam(wd=settings.wd),
    "sgd": lambda settings: mx.optimizer.SGD(wd=settings.wd, momentum=settings.momentum),
}


def build_network(settings: Settings, data: Data, devices: list[mx.Context]) -> HybridBlock:
    """Return an initialized, hybridized network for the images of a data set.

    Raises
    ------
    ModelError
        The network is unknown or cannot have these options.
    """
    mx.random.seed(settings.seed)
    net = get_model(settings.model, **_network_options(settings, data))
    if settings.wd:
        net.collect_params(".*batchnorm.*").setattr("wd_mult", 0.0)
    net.initialize(_INITIALIZERS[settings.initialization](), ctx=devices)
    net.hybridize()
    return net


def _network_options(settings: Settings, data: Data) -> dict[str, Any]:
    known = model_options(settings.model)
    stem = "thumbnail" if data.shape[1] < _SMALL_IMAGE else "imagenet"
    from_data = {"classes": data.classes, "in_channels": data.shape[0], "initial_layers": stem}
    fitting = {name: value for name, value in from_data.items() if name in known}
    return {**fitting, **settings.network_options()}


def make_trainer(settings: Settings, net: HybridBlock, devices: list[mx.Context]) -> Trainer:
    """Return the optimizer; its state stays on this side, where it can be saved exactly."""
    several = len(devices) > 1
    return Trainer(
        net.collect_params(),
        _OPTIMIZERS[settings.optimizer](settings),
        kvstore="device" if several else None,
        update_on_kvstore=False if several else None,
    )
