"""Rectified Adam, which stock MXNet lacks."""

from __future__ import annotations

import math
from typing import Any

import mxnet as mx

_RECTIFIABLE_LENGTH = 5  # below it the variance of the adaptive rate is not defined


class RAdam(mx.optimizer.Optimizer):
    """Adam whose steps are small while the second moment is unsure (arXiv:1908.03265).

    Parameters
    ----------
    learning_rate : float
        Step size.
    beta1, beta2 : float
        Decay of the first and of the second moment.
    epsilon : float
        Added to the root of the second moment.
    **kwargs
        As of ``mxnet.optimizer.Optimizer``.
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def create_state(self, index: int, weight: mx.nd.NDArray) -> tuple[mx.nd.NDArray, ...]:
        """Return both moments of one parameter, zero at the start."""
        return tuple(mx.nd.zeros(weight.shape, weight.context, weight.dtype) for _ in range(2))

    def update(
        self,
        index: int,
        weight: mx.nd.NDArray,
        grad: mx.nd.NDArray,
        state: tuple[mx.nd.NDArray, ...],
    ) -> None:
        """Change one parameter in place."""
        self._update_count(index)
        step = self._index_update_count[index]
        grad = self._prepared(grad) + self._get_wd(index) * weight
        mean, variance = state
        mean[:] = self.beta1 * mean + (1 - self.beta1) * grad
        variance[:] = self.beta2 * variance + (1 - self.beta2) * grad * grad
        direction = mean / (1 - self.beta1**step)
        rectification = rectify(step, self.beta2)
        if rectification is not None:
            root = mx.nd.sqrt(variance / (1 - self.beta2**step)) + self.epsilon
            direction = rectification * direction / root
        weight[:] -= self._get_lr(index) * direction

    def _prepared(self, grad: mx.nd.NDArray) -> mx.nd.NDArray:
        grad = grad * self.rescale_grad
        limit = self.clip_gradient
        return grad if limit is None else mx.nd.clip(grad, -limit, limit)


def rectify(step: int, beta2: float) -> float | None:
    """Return the factor r of a step, counted from 1, or None where Adam's root is left out.

    With rho = 2 / (1 - beta2) - 1 and rho_t = rho - 2 t beta2^t / (1 - beta2^t):
    r^2 = (rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t), where rho_t > 5.
    """
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    if length <= _RECTIFIABLE_LENGTH:
        return None
    numerator = (length - 4) * (length - 2) * longest
    return math.sqrt(numerator / ((longest - 4) * (longest - 2) * length))
