"""``mxnet.gluon.nn`` plus the binary layers: replace ``nn.Dense`` by ``nn.QDense``."""

from __future__ import annotations

from typing import Any

from mxnet.gluon import nn as _stock

from .blocks import BinaryConvolution, ScaledBinaryConv, ScaledWeightsBinaryConv, activated_conv
from .config import BinaryLayerConfig, binary_layer_config, set_binary_layer_config
from .conv import QConv1D, QConv2D, QConv3D
from .layers import QActivation, QDense

__all__ = [
    "BinaryConvolution",
    "BinaryLayerConfig",
    "QActivation",
    "QConv1D",
    "QConv2D",
    "QConv3D",
    "QDense",
    "ScaledBinaryConv",
    "ScaledWeightsBinaryConv",
    "activated_conv",
    "binary_layer_config",
    "set_binary_layer_config",
]
BINARY_NAMES = tuple(__all__)
__all__ += [name for name in dir(_stock) if not name.startswith("_")]


def __getattr__(name: str) -> Any:
    return getattr(_stock, name)
