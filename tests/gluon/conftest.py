from collections.abc import Callable

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd


@pytest.fixture
def rng() -> np.random.Generator:
    mx.random.seed(7)
    return np.random.default_rng(7)


def _value_and_gradient(
    function: Callable, x: np.ndarray, head: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    data = mx.nd.array(x)
    data.attach_grad()
    with autograd.record():
        out = function(data)
    out.backward(None if head is None else mx.nd.array(head))
    return out.asnumpy(), data.grad.asnumpy().copy()


@pytest.fixture
def value_and_gradient() -> Callable:
    """Output and input gradient of a function, both as copies of their own."""
    return _value_and_gradient
