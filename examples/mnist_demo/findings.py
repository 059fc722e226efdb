"""What the demo finds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnn_tvm.benchmark.bench import BenchReport
from bnn_tvm.gluon.baseline import MXNetModel
from bnn_tvm.package import Package

from .comparison import LayerMatch


@dataclass(frozen=True)
class Network:
    """One of the two networks, as files, as a package and as MXNet runs it."""

    title: str
    symbol: Path
    params: Path
    package_path: Path
    package: Package
    mxnet: MXNetModel
    compile_seconds: float


@dataclass(frozen=True)
class Answers:
    """What a network says about the held-out digits.

    Attributes
    ----------
    ours, theirs : numpy.ndarray
        (N, 10) logits of the package and of MXNet.
    labels : numpy.ndarray
        (N,) digits.
    """

    ours: np.ndarray
    theirs: np.ndarray
    labels: np.ndarray

    def accuracy(self, logits: np.ndarray) -> float:
        """Share of digits that are recognised."""
        return float(np.mean(logits.argmax(1) == self.labels))

    @property
    def agreeing(self) -> int:
        """Number of digits for which both predict the same."""
        return int(np.sum(self.ours.argmax(1) == self.theirs.argmax(1)))

    @property
    def largest_difference(self) -> float:
        """Of the logits, absolute."""
        return float(np.max(np.abs(self.ours - self.theirs)))


@dataclass(frozen=True)
class Findings:
    """Everything that the demo found."""

    networks: tuple[Network, ...]
    answers: tuple[Answers, ...]
    matches: tuple[LayerMatch, ...]
    clear_agreeing: bool
    report: BenchReport
