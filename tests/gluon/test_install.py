import subprocess
import sys

import mxnet as mx
import numpy as np
from numpy.testing import assert_array_equal

from bnn_tvm.gluon import install, nn


def test_everything_is_under_upstreams_names():
    install()
    install()
    for name in nn.BINARY_NAMES:
        assert getattr(mx.gluon.nn, name) is getattr(nn, name)
    data, symbol = mx.nd.array([-0.7, 0.0, 0.7]), mx.sym.var("x")
    for name in ("det_sign", "approx_sign", "round_ste"):
        expected = getattr(mx.nd, name)(data).asnumpy()
        assert_array_equal(getattr(data, name)().asnumpy(), expected)
        for graph in (getattr(mx.sym, name)(symbol), getattr(symbol, name)()):
            assert_array_equal(graph.eval(x=data)[0].asnumpy(), expected)
    for owner, tensor in ((mx.nd, data), (mx.sym, symbol)):
        assert owner.contrib.gradcancel(tensor, threshold=0.5) is not tensor


def test_importing_does_not_install():
    code = "import bnn_tvm.gluon, mxnet as mx; assert not hasattr(mx.nd, 'det_sign')"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nn_is_the_stock_name_space_and_more():
    assert nn.Dense is mx.gluon.nn.Dense
    assert {"QConv2D", "Dense", "HybridSequential"} <= set(nn.__all__)
    scope: dict[str, object] = {}
    exec("from bnn_tvm.gluon.nn import *", scope)
    assert scope["BatchNorm"] is mx.gluon.nn.BatchNorm
    assert scope["QDense"] is nn.QDense


def test_upstream_style_code_runs():
    install()
    x = mx.nd.array(np.linspace(-1, 1, 12).reshape(3, 4))
    net = mx.gluon.nn.HybridSequential()
    with mx.gluon.nn.set_binary_layer_config(grad_cancel=1.3):
        net.add(mx.gluon.nn.QActivation(), mx.gluon.nn.QDense(2))
    net.initialize()
    assert net(x).shape == (3, 2)
