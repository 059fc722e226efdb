"""Draw a benchmark's report as a bar chart, where matplotlib is installed."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ..errors import ToolchainError
from .bench import BenchReport

_OURS, _OTHERS = "#1b6ca8", "#b8b8b8"


def draw_chart(report: BenchReport) -> bytes:
    """Draw the models' median times, with bars from quartile to quartile, as a PNG image."""
    labels = [model.label for model in report.models]
    medians = [model.seconds.median * 1e3 for model in report.models]
    below = [(m.seconds.median - m.seconds.lower_quartile) * 1e3 for m in report.models]
    above = [(m.seconds.upper_quartile - m.seconds.median) * 1e3 for m in report.models]
    title = f"{report.name}: one inference, {report.environment.threads} thread(s)"
    return draw_bars(title, labels, medians, (below, above))


def draw_bars(
    title: str,
    labels: Sequence[str],
    milliseconds: Sequence[float],
    errors: tuple[Sequence[float], Sequence[float]] | None = None,
) -> bytes:
    """Draw horizontal bars of times, the first one ours, as a PNG image.

    Raises
    ------
    ToolchainError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as exc:
        raise ToolchainError(
            "charts need matplotlib, which is not installed; pip install 'bnn_tvm[plot]'"
        ) from exc
    figure = Figure(figsize=(7, 1.2 + 0.5 * len(labels)), layout="constrained")
    axes = figure.subplots()
    colors = [_OURS, *[_OTHERS] * (len(labels) - 1)]
    bars = axes.barh(range(len(labels)), milliseconds, xerr=errors, color=colors, capsize=3)
    axes.bar_label(bars, [f"{value:.3g} ms" for value in milliseconds], padding=6)
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel("median, ms")
    axes.set_title(title)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=150)
    return image.getvalue()
