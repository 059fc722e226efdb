"""Training side: BMXNet v2's binary layers on stock MXNet 1.9.1.

``from bnn_tvm.gluon import nn`` gives ``mxnet.gluon.nn`` plus the binary layers;
:func:`install` makes code written for BMXNet v2 run unchanged. Importing the package lets
hybridized blocks that hold binary layers infer their shapes before they are traced; see
:mod:`.offset`.
"""

from .export import to_symbol
from .functions import approx_sign, det_sign, gradcancel, round_ste
from .install import install
from .offset import trace_with_known_shapes

__all__ = ["approx_sign", "det_sign", "gradcancel", "install", "round_ste", "to_symbol"]

trace_with_known_shapes()
