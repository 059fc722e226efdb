"""Draw the demo's pictures."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from bnn_tvm.benchmark.bench import BenchReport
from bnn_tvm.benchmark.chart import draw_bars
from bnn_tvm.zoo.mnist import Digits

_EXAMPLES_OF_A_CLASS = 3
_MOST_MISTAKES = 10


def draw_latency(report: BenchReport) -> bytes:
    """Draw the four medians as a bar chart."""
    labels = ["binary, compiled", "float, compiled", "float, MXNet", "binary, MXNet"]
    medians = [model.seconds.median * 1e3 for model in report.models]
    title = f"LeNet, one digit, one thread, {report.environment.cpu_model}"
    return draw_bars(title, labels, medians)


def draw_digits(digits: Digits, logits: np.ndarray) -> bytes:
    """Draw some digits of each class with their predictions, mistakes below, as a PNG image."""
    from matplotlib.figure import Figure

    predictions = logits.argmax(1)
    rows = _choose_examples(digits.labels, predictions)
    figure = Figure(figsize=(10, 1.35 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), _MOST_MISTAKES)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, index in np.ndenumerate(rows):
        if index >= 0:
            _draw_digit(grid[place], digits, predictions, index)
    figure.suptitle("Held-out digits as the compiled binary LeNet reads them; mistakes in red\n")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()


def _choose_examples(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Choose right ones, a class a column, and a row of mistakes: (rows, 10) indices or -1."""
    right = predictions == labels
    columns = [np.flatnonzero(right & (labels == digit)) for digit in range(10)]
    mistakes = np.flatnonzero(~right)[:_MOST_MISTAKES]
    last = np.full(_MOST_MISTAKES, -1)
    last[: len(mistakes)] = mistakes
    return np.vstack([np.stack([c[:_EXAMPLES_OF_A_CLASS] for c in columns], axis=1), last])


def _draw_digit(axes: Any, digits: Digits, predictions: np.ndarray, index: int) -> None:
    label, predicted = int(digits.labels[index]), int(predictions[index])
    axes.imshow(digits.images[index, 0], cmap="gray_r")
    right = label == predicted
    title = str(predicted) if right else f"{predicted}, is {label}"
    axes.set_title(title, fontsize=11, color="#1b6ca8" if right else "#c0392b")
