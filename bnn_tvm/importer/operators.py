"""What the importer must know of MXNet's operators before any is converted: their input slots."""

from __future__ import annotations

VARIABLE = "null"
"""The operator of a node that stands for an input or a parameter."""

FIRST_PARAMETER = {
    "BatchNorm": 1,
    "BatchNorm_v1": 1,
    "BinaryInferenceConvolution": 1,
    "BinaryInferenceFullyConnected": 1,
    "Convolution": 1,
    "Convolution_v1": 1,
    "FullyConnected": 1,
    "QConvolution": 1,
    "QConvolution_v1": 1,
    "QFullyConnected": 1,
}
"""From this slot on, what an operator reads is (computed from) a parameter, never network input."""

FIRST_IGNORED = {"Softmax": 1, "SoftmaxOutput": 1}
"""From this slot on, an operator reads what inference does not need: labels."""


def used_slots(op: str, count: int) -> range:
    """Slots, out of ``count``, that inference reads."""
    return range(min(count, FIRST_IGNORED.get(op, count)))


def data_slots(op: str, count: int) -> range:
    """Slots, out of ``count``, through which the network's own input may come."""
    return range(min(len(used_slots(op, count)), FIRST_PARAMETER.get(op, count)))
