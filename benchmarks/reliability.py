"""Draw a reliability diagram: how often what was given a probability is so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from medguard.evaluation.metrics import ReliabilityBin

__all__ = ["draw_reliability"]


def draw_reliability(bins: Sequence[ReliabilityBin], path: Path) -> Path:
    """Draw `bins` into an SVG file, the same bytes each time; points are as large as their bin is full."""
    # The fixed salt and the missing date keep the file from changing where the figures do not.
    with mpl.rc_context({"svg.hashsalt": "medguard", "svg.fonttype": "none"}):
        figure = Figure(figsize=(4.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
        axes.scatter(
            [item["probability"] for item in bins],
            [item["frequency"] for item in bins],
            s=[10.0 + item["count"] ** 0.5 * 8.0 for item in bins],
        )
        axes.set(xlabel="predicted P(harmful request)", ylabel="share judged harmful", aspect="equal")
        figure.savefig(path, format="svg", metadata={"Date": None})
    return path
