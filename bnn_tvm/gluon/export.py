"""Gluon networks as symbol JSON and numpy parameters, the form that the importer reads."""

from __future__ import annotations

import mxnet as mx
import numpy as np
from mxnet.gluon import HybridBlock, Parameter
from mxnet.gluon.parameter import DeferredInitializationError

from ..errors import InputError, ModelError


def to_symbol(
    net: HybridBlock, *input_shapes: tuple[int, ...] | None
) -> tuple[str, dict[str, np.ndarray]]:
    """Return the graph and the parameters of a network, as MXNet would export them.

    Parameters
    ----------
    net : HybridBlock
        Initialized network.
    *input_shapes : tuple of int, optional
        Shape of each input; needed where the network has not yet seen its input's shape. No
        shape, or None, stands for one input.

    Returns
    -------
    symbol : str
        Symbol JSON. One input is called ``data``, more are ``data0``, ``data1``, ...
    parameters : dict of str to numpy.ndarray
        Arrays by name with MXNet's prefixes ``arg:`` and ``aux:``.

    Raises
    ------
    ModelError
        Parameters have no shape or no values yet.
    InputError
        The network cannot take inputs of these shapes.
    """
    _finish_initialization(net, input_shapes)
    count = max(len(input_shapes), 1)
    names = ["data"] if count == 1 else [f"data{i}" for i in range(count)]
    outputs = net(*(mx.sym.var(name) for name in names))
    symbol = mx.sym.Group(outputs) if isinstance(outputs, list | tuple) else outputs
    return symbol.tojson(), _parameters(net, symbol)


def _finish_initialization(net: HybridBlock, shapes: tuple[tuple[int, ...] | None, ...]) -> None:
    waiting = [p.name for p in net.collect_params().values() if _waits_for_a_shape(p)]
    if not waiting:
        return
    if not shapes or None in shapes:
        raise ModelError(
            f"Parameter '{waiting[0]}' has no shape yet: the network was never run. "
            "Give the shape of each input, or run the network once."
        )
    try:
        net(*(mx.nd.zeros(shape) for shape in shapes))
    except (ValueError, mx.MXNetError) as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")
        raise InputError(
            f"Input shape {shapes} does not fit the network: {reason}. "
            "Give the shape that the network was made for."
        ) from error


def _waits_for_a_shape(parameter: Parameter) -> bool:
    try:
        _values(parameter)
    except DeferredInitializationError:
        return True
    return False


def _values(parameter: Parameter) -> mx.nd.NDArray:
    try:
        return parameter.list_data()[0]
    except DeferredInitializationError:
        raise
    except RuntimeError as error:
        raise ModelError(
            f"Parameter '{parameter.name}' has no values. "
            "Call net.initialize() or net.load_parameters() first."
        ) from error


def _parameters(net: HybridBlock, symbol: mx.sym.Symbol) -> dict[str, np.ndarray]:
    kinds = dict.fromkeys(symbol.list_arguments(), "arg")
    kinds.update(dict.fromkeys(symbol.list_auxiliary_states(), "aux"))
    return {
        f"{kinds[name]}:{name}": _values(parameter).asnumpy()
        for name, parameter in net.collect_params().items()
        if name in kinds
    }
