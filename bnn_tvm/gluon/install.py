"""Put the layers and functions where BMXNet v2 has them, inside the ``mxnet`` package."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import nn as stock_nn

from . import functions, nn

_OPERATORS = ("det_sign", "round_ste", "approx_sign")


def install() -> None:
    """Attach everything to MXNet under BMXNet v2's names; calling it again changes nothing.

    Layers and configuration go to ``mxnet.gluon.nn``; ``det_sign``, ``round_ste`` and
    ``approx_sign`` to ``mx.nd``, ``mx.sym`` and, as methods, to ``NDArray`` and ``Symbol``;
    ``gradcancel`` to ``mx.nd.contrib`` and ``mx.sym.contrib``.
    """
    for name in nn.BINARY_NAMES:
        setattr(stock_nn, name, getattr(nn, name))
    for name in _OPERATORS:
        for owner in (mx.nd, mx.sym, mx.nd.NDArray, mx.sym.Symbol):
            setattr(owner, name, getattr(functions, name))
    for owner in (mx.nd, mx.sym):
        owner.contrib.gradcancel = functions.gradcancel
