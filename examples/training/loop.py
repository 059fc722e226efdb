"""The training itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.gluon import HybridBlock
from mxnet.gluon.loss import SoftmaxCrossEntropyLoss
from mxnet.gluon.utils import split_and_load

from training.checkpoints import Checkpoints, Progress
from training.datasets import Data, Part
from training.images import Batch
from training.network import build_network, make_trainer
from training.schedules import learning_rate
from training.settings import Settings

_EVALUATION_BATCH = 200
_TOP = 5


@dataclass(frozen=True)
class Watcher:
    """Who is told about the training.

    Attributes
    ----------
    on_step : callable
        Gets the number of finished steps, of all epochs, and the loss.
    on_epoch : callable
        Gets the progress, after its checkpoint was written.
    """

    on_step: Callable[[int, float], None] = lambda step, loss: None
    on_epoch: Callable[[Progress], None] = lambda progress: None


class Training:
    """A network, its optimizer and the number of finished epochs.

    Parameters
    ----------
    settings : Settings
        All that decides the result.
    data : Data
        What to learn.
    checkpoints : pathlib.Path
        Folder of the checkpoints.
    devices : list of mxnet.Context, optional
        Each computes a part of every batch; the CPU by default.

    Notes
    -----
    Order and augmentation of an epoch come from a generator of its own, made from the seed and the
    epoch, and the optimizer's state is saved whole. A resumed training therefore gives the same
    parameters to the last bit as an unbroken one.
    """

    def __init__(
        self,
        settings: Settings,
        data: Data,
        checkpoints: Path,
        devices: list[mx.Context] | None = None,
    ) -> None:
        self.settings = settings
        self.data = data
        self.devices = devices or [mx.cpu()]
        self.checkpoints = Checkpoints(checkpoints, settings)
        self.progress = Progress()
        self.net = build_network(settings, data, self.devices)
        self.trainer = make_trainer(settings, self.net, self.devices)
        self._loss = SoftmaxCrossEntropyLoss()

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches; the rest of the images waits for another shuffle."""
        return len(self.data.train) // self.settings.batch_size

    def resume(self) -> None:
        """Go back to the last checkpoint; see :meth:`Checkpoints.restore`."""
        self.progress = self.checkpoints.restore(self.net, self.trainer, self.devices)

    def run(self, watcher: Watcher) -> None:
        """Train what is left; each epoch ends with a checkpoint."""
        while self.progress.finished_epochs < self.settings.epochs:
            result = self._run_epoch(self.progress.finished_epochs, watcher)
            self.progress = self.progress.with_epoch(result)
            self.checkpoints.save(self.net, self.trainer, self.progress)
            watcher.on_epoch(self.progress)

    def keep_best(self) -> int:
        """Put the parameters to keep into the network; return the epoch that they are from."""
        return self.checkpoints.load_best(self.net, self.progress, self.devices)

    def _run_epoch(self, epoch: int, watcher: Watcher) -> dict[str, Any]:
        total = 0.0
        for step, (images, labels) in enumerate(self._batches(epoch)):
            rate = learning_rate(self.settings, epoch + step / self.steps_per_epoch)
            self.trainer.set_learning_rate(rate)
            loss = self._run_step(images, labels)
            total += loss
            watcher.on_step(epoch * self.steps_per_epoch + step + 1, loss)
        validation = accuracy(self.net, self.data.validation, self.devices)
        return {
            "loss": total / self.steps_per_epoch,
            "learning_rate": rate,
            "validation": validation[0] if validation else None,
        }

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng([self.settings.seed, epoch])
        order = rng.permutation(len(self.data.train))
        size = self.settings.batch_size

        def load(step: int) -> Batch:
            return self.data.train.batch(order[step * size : (step + 1) * size], rng)

        return load_ahead(load, self.steps_per_epoch)

    def _run_step(self, images: np.ndarray, labels: np.ndarray) -> float:
        parts = zip(self._on_devices(images), self._on_devices(labels), strict=True)
        with autograd.record():
            losses = [self._loss(self.net(x), y) for x, y in parts]
        autograd.backward(losses)
        self.trainer.step(len(labels))
        means = [(float(loss.mean().asscalar()), len(loss)) for loss in losses]
        return sum(mean * size for mean, size in means) / len(labels)

    def _on_devices(self, values: np.ndarray) -> list[mx.nd.NDArray]:
        return split_and_load(mx.nd.array(values), self.devices, even_split=False)


def load_ahead(load: Callable[[int], Batch], count: int) -> Iterator[Batch]:
    """Yield ``load(0)`` to ``load(count - 1)``; the next is loaded while one is used.

    One thread loads all in order, so that a generator that ``load`` uses gives the same numbers
    every time.
    """
    with ThreadPoolExecutor(1) as loader:
        pending = loader.submit(load, 0)
        for step in range(count):
            batch = pending.result()
            if step + 1 < count:
                pending = loader.submit(load, step + 1)
            yield batch


def accuracy(net: HybridBlock, part: Part, devices: list[mx.Context]) -> tuple[float, float] | None:
    """Return the share of images whose class is the first, and among the first five, of the logits.

    None for a part without images.
    """
    if not len(part):
        return None
    starts = range(0, len(part), _EVALUATION_BATCH)
    positions = (np.arange(start, min(start + _EVALUATION_BATCH, len(part))) for start in starts)
    hits = np.sum([_hits(net, *part.batch(each), devices) for each in positions], axis=0)
    return float(hits[0] / len(part)), float(hits[1] / len(part))


def _hits(
    net: HybridBlock, images: np.ndarray, labels: np.ndarray, devices: list[mx.Context]
) -> np.ndarray:
    outputs = [net(x) for x in split_and_load(mx.nd.array(images), devices, even_split=False)]
    logits = np.concatenate([output.asnumpy() for output in outputs])
    ranked = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]
    found = ranked == labels[:, None]
    return np.array([found[:, 0].sum(), found.sum()])
