"""The learning rate over a training."""

from __future__ import annotations

import math

from training.settings import Settings

_POLY_POWER = 2


def learning_rate(settings: Settings, epoch: float) -> float:
    """Return the rate at a moment.

    Parameters
    ----------
    settings : Settings
        With ``lr``, ``lr_mode`` and the rest of the schedule.
    epoch : float
        Epochs since the start, with a fraction inside an epoch.

    Notes
    -----
    With r the start value: ``cosine`` r (1 + cos(pi t)) / 2, ``poly`` r (1 - t)^2, both with t from
    0 after the warm-up to 1 at the end; ``step`` multiplies r by a factor at each given epoch. The
    warm-up is linear.
    """
    if epoch < settings.warmup_epochs:
        share = epoch / settings.warmup_epochs
        return settings.warmup_lr + (settings.lr - settings.warmup_lr) * share
    if settings.lr_mode == "step":
        return settings.lr * settings.lr_factor ** sum(epoch >= s for s in settings.lr_steps)
    done = (epoch - settings.warmup_epochs) / (settings.epochs - settings.warmup_epochs)
    if settings.lr_mode == "poly":
        return settings.lr * (1 - done) ** _POLY_POWER
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
