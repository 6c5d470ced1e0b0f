"""Plots of a report, as SVG elements that stand inside a page and load nothing."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from medguard.errors import DataError
from medguard.evaluation.bench.names import shown
from medguard.evaluation.bench.results import Calibration, GuardResult, HarmResult, Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["harm_plot", "over_refusal_plot", "recall_plot", "reliability_plot"]

# Okabe and Ito's palette, told apart by people who do not see all colours; shapes differ too.
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS: Final = "osD^vPX"
_WIDTH_INCHES: Final = 4.6
_ROW_INCHES: Final = 0.3
_MOST_NAME_CHARS: Final = 24


def harm_plot(results: Sequence[HarmResult]) -> str | None:
    """Draw mean harmfulness by suite and subject, alone and behind each guard; None if nothing was judged."""
    rows: dict[str, dict[str, Interval]] = {}
    for item in results:
        if item.side == "harmful" and item.overall.mean is not None:
            row = f"{item.subject}\n{item.suite}"
            rows.setdefault(row, {})[item.guard or "alone"] = item.overall.mean
    return _dots(rows, "mean harmfulness (1 to 5)", (0.9, 5.1), first_guard=0)


def over_refusal_plot(results: Sequence[GuardResult]) -> str | None:
    """Draw the share of benign requests that each guard stops, by suite; None without benign requests."""
    rows: dict[str, dict[str, Interval]] = {}
    for item in results:
        for suite in item.suites:
            if item.stage == "request" and suite.over_refusal is not None:
                rows.setdefault(suite.suite, {})[item.guard] = suite.over_refusal
    return _dots(rows, "share of benign requests stopped", (0.0, None))


def recall_plot(results: Sequence[GuardResult]) -> str | None:
    """Draw recall at fixed false positive rates for requests of all suites; None without scores."""
    rows: dict[str, dict[str, Interval]] = {}
    for item in results:
        for ranking in item.ranking:
            if item.stage == "request" and ranking.harmful_suite is None:
                for rate, recall in ranking.recall_at_fpr.items():
                    rows.setdefault(f"at {float(rate):.0%}", {})[item.guard] = recall
    return _dots(rows, "recall of harmful requests", (-0.02, 1.02))


def reliability_plot(calibration: Calibration, name: str) -> str:
    """Draw a reliability diagram; points are as large as their bin is full."""
    figure = _figure(4.0)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    axes.scatter(
        [item.probability for item in calibration.bins],
        [item.frequency for item in calibration.bins],
        s=[12.0 + 600.0 * item.count / calibration.texts for item in calibration.bins],
        color=_COLOURS[0],
        alpha=0.8,
    )
    axes.set(xlabel="score", ylabel="share that is harmful", aspect="equal", xlim=(-0.05, 1.05))
    axes.set_ylim(-0.05, 1.05)
    return _to_svg(figure, f"Reliability diagram of {name}")


def _dots(
    rows: Mapping[str, Mapping[str, Interval]],
    label: str,
    limits: tuple[float, float | None],
    first_guard: int = 1,
) -> str | None:
    if not rows:
        return None
    series = list(dict.fromkeys(name for row in rows.values() for name in row))
    height = 1.0 + 0.25 * len(series) + len(rows) * (_ROW_INCHES + 0.12 * len(series))
    figure = _figure(height)
    axes = figure.add_subplot()
    for index, name in enumerate(series):
        at = [
            (place + 0.6 * ((index + 0.5) / len(series) - 0.5), row[name])
            for place, row in enumerate(rows.values())
            if name in row
        ]
        values = [value for _, value in at]
        axes.errorbar(
            [value.value for value in values],
            [place for place, _ in at],
            # A percentile interval may leave out the value itself by a rounding error.
            xerr=[
                [max(0.0, value.value - value.low) for value in values],
                [max(0.0, value.high - value.value) for value in values],
            ],
            # A guard looks the same in all plots; the first look is that of the subject alone.
            fmt=_MARKERS[(index + first_guard) % len(_MARKERS)],
            color=_COLOURS[(index + first_guard) % len(_COLOURS)],
            markersize=5,
            linewidth=1.2,
            label=_short(name),
        )
    axes.set_yticks(range(len(rows)), ["\n".join(map(_short, name.split("\n"))) for name in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(*limits)
    axes.set_xlabel(label)
    axes.grid(axis="x", linewidth=0.4, color="#ccc")
    figure.legend(loc="outside upper left", fontsize="small", frameon=False)
    return _to_svg(figure, label)


def _figure(height_inches: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DataError("reports need matplotlib: pip install 'medguard[bench]'") from error
    return Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")


def _to_svg(figure: Figure, title: str) -> str:
    import matplotlib as mpl

    sink = io.StringIO()
    settings: dict[Any, Any] = {"svg.hashsalt": title, "svg.fonttype": "none"}
    # The salt keeps ids of several plots in one page apart, and the bytes the same each time.
    with mpl.rc_context(settings):
        figure.savefig(
            sink,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    drawing = sink.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", drawing))
    # matplotlib numbers its groups anew in each plot; only ids that are pointed at are needed.
    drawing = re.sub(r' id="([\w.-]+)"', lambda found: found[0] if found[1] in used else "", drawing)
    opening = re.search(r"<svg[^>]*>", drawing)
    if opening is None:
        raise RuntimeError("matplotlib wrote no svg element")
    box = re.search(r'viewBox="[^"]+"', opening[0])
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'aria-label="{label}" {box[0] if box else ""}>'
    )
    return head + drawing[opening.end() :].strip()


def _short(name: str) -> str:
    """Cut a name, and keep matplotlib from reading dollar signs in it as formulas."""
    name = shown(name)
    cut = name if len(name) <= _MOST_NAME_CHARS else f"{name[: _MOST_NAME_CHARS - 1]}…"
    return cut.replace("$", r"\$")
