"""Reports of a run: ``results.json``, ``report.md`` and ``report.html``.

The page shows examples of requests and answers, behind a click: harmful texts, and perhaps somebody's health
data. Treat it as you treat the run folder, or leave them out. The other two files hold figures and names.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from medguard.errors import DataError
from medguard.evaluation.bench import plots
from medguard.evaluation.bench.analysis import HARD_BENIGN, figures
from medguard.evaluation.bench.compare import Comparison, compare
from medguard.evaluation.bench.names import shown
from medguard.evaluation.bench.observed import DEFAULT_EXAMPLES, Example, Observed, observe
from medguard.evaluation.bench.results import ComparisonKey, Results
from medguard.evaluation.bench.stages import REQUESTS_ONLY
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.tables import Table, comparison_tables, tables, to_markdown

__all__ = [
    "compare_runs",
    "read_run",
    "render_comparison",
    "render_report",
    "write_comparison",
    "write_report",
    "write_whole",
]

_TEMPLATE: Final = "report.html.jinja"
_TITLE: Final = "MedGuard benchmark"
_UNFINISHED: Final = "This run is not finished: the figures are of what is there so far."
_KINDS: Final = {
    "harmful answer": "Answers at level 4 or 5",
    "harm that passed": "Harm that a guard let pass",
    "benign stopped": "Benign requests that a guard stopped",
}


@dataclass(frozen=True, slots=True)
class _Plot:
    svg: Any
    """Markup that the template does not escape."""
    caption: str


def write_report(
    run_folder: Path, *, examples: int = DEFAULT_EXAMPLES, hard_benign: Collection[str] = HARD_BENIGN
) -> Path:
    """Write ``results.json``, ``report.md`` and ``report.html`` into a run's folder.

    Args:
        run_folder: Folder of a run, finished or not: unfinished rows count as unjudged.
        examples: How many examples to show of each kind, suite, subject and guard; 0 leaves texts out.
        hard_benign: Suites against whose benign requests guards are ranked.

    Returns:
        Path of the page.

    Raises:
        DataError: The folder holds no run or no rows, the run lacks a part of the comparison key, or jinja2,
            matplotlib or scikit-learn is missing.
        OSError: A file cannot be written.
    """
    seen, meta = read_run(run_folder, examples=examples)
    results = figures(seen, meta, hard_benign=hard_benign)
    page = render_report(results, seen.examples)
    write_whole(run_folder / "results.json", json.dumps(results.model_dump(mode="json"), indent=2) + "\n")
    write_whole(
        run_folder / "report.md",
        to_markdown(_TITLE, tables(results), lead="" if results.finished else _UNFINISHED),
    )
    return write_whole(run_folder / "report.html", page)


def compare_runs(first: Path, second: Path) -> Comparison:
    """Compare two run folders pair by pair.

    Raises:
        DataError: A folder holds no run, or the runs may not stand side by side.
    """
    sides = []
    for folder in (first, second):
        seen, meta = read_run(folder, examples=0)
        sides.append((seen, ComparisonKey.from_meta(meta, seen.items)))
    (one, one_key), (other, other_key) = sides
    return compare(one, one_key, other, other_key)


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write ``comparison.json``, ``comparison.md`` and ``comparison.html``; none of them holds texts.

    Returns:
        Path of the page.

    Raises:
        DataError: jinja2 is missing.
        OSError: A file cannot be written.
    """
    page = render_comparison(comparison)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "comparison.json", json.dumps(comparison.model_dump(mode="json"), indent=2) + "\n")
    write_whole(folder / "comparison.md", to_markdown(f"{_TITLE}: two runs", comparison_tables(comparison)))
    return write_whole(folder / "comparison.html", page)


def read_run(run_folder: Path, *, examples: int) -> tuple[Observed, dict[str, Any]]:
    """Read all rows of a run folder, and what the run says of itself.

    Raises:
        DataError: The folder holds no run.
    """
    with closing(Store.open(run_folder)) as store:
        meta = store.meta()
        seen = observe(store.rows(), examples=examples)
    if meta.get("finished") is False:
        # Whether a guard judges answers is told by its first answer, which may be yet to come.
        seen.judges_answers |= seen.requests.keys() - set(meta.get(REQUESTS_ONLY, ()))
    return seen, meta


def render_report(results: Results, examples: Sequence[Example] = ()) -> str:
    """Render the page: no script, nothing loaded, readable on a phone.

    Raises:
        DataError: jinja2 or matplotlib is missing.
    """
    return _render(
        title=_TITLE,
        lead=_lead(results),
        drawings=list(_drawings(results)),
        found=tables(results),
        examples=examples,
    )


def render_comparison(comparison: Comparison) -> str:
    """Render the page of a comparison.

    Raises:
        DataError: jinja2 is missing.
    """
    return _render(
        title=f"{_TITLE}: two runs", lead=[], drawings=[], found=comparison_tables(comparison), examples=()
    )


def _lead(results: Results) -> Iterator[str]:
    key = results.comparison
    subjects = sorted({item.subject for item in results.harm})
    guards = sorted(map(shown, key.operating_points))
    requests = sum(suite.requests for suite in key.suites.values())
    yield (
        f"{requests} requests of {len(key.suites)} suites; models under test: "
        f"{', '.join(subjects) or 'none'}; guards: {', '.join(guards) or 'none'}; "
        f"judge: {key.judge or 'none'}."
    )
    if not results.finished:
        yield _UNFINISHED
    yield (
        "Harmfulness runs from 1 (the answer declines) to 5 (it fully serves the request). A guard's recall "
        "is worth nothing without its over-refusal: read both."
    )


def _drawings(results: Results) -> Iterator[tuple[str, str]]:
    drawn = (
        (
            plots.harm_plot(results.harm),
            "Mean harmfulness of answers to harmful requests, alone and behind guards, with 95% intervals.",
        ),
        (
            plots.over_refusal_plot(results.guards),
            "Benign requests that guards stop, with 95% intervals; less is better.",
        ),
        (
            plots.recall_plot(results.guards),
            "Harmful requests found at fixed false positive rates on hard benign ones, with 95% intervals.",
        ),
    )
    yield from ((svg, caption) for svg, caption in drawn if svg is not None)
    for item in results.guards:
        if item.calibration is not None:
            name = f"{shown(item.guard)}, {item.stage}s"
            yield (
                plots.reliability_plot(item.calibration, name),
                f"Reliability of {name}: on the dashed line a score of 0.3 is harmful in 3 of 10 cases.",
            )


def _render(
    *,
    title: str,
    lead: Iterator[str] | list[str],
    drawings: Sequence[tuple[str, str]],
    found: Sequence[Table],
    examples: Sequence[Example],
) -> str:
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError as error:
        raise DataError("reports need jinja2: pip install 'medguard[bench]'") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"visible": _visible, "shown": shown}
    source = resources.files("medguard.evaluation.bench").joinpath(_TEMPLATE).read_text(encoding="utf-8")
    by_kind = [
        (title_of, [item for item in examples if item.kind == kind]) for kind, title_of in _KINDS.items()
    ]
    return environment.from_string(source).render(
        title=title,
        lead=list(lead),
        # Our own drawing: the names in it were escaped when it was drawn.
        plots=[_Plot(Markup(svg), caption) for svg, caption in drawings],  # noqa: S704
        tables=found,
        examples=[(title_of, of_kind) for title_of, of_kind in by_kind if of_kind],
    )


def _visible(text: str) -> str:
    """Replace characters that a page may not hold, or that would reorder or hide others."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
        else f"[U+{ord(character):04X}]"
        for character in text.replace("\r\n", "\n")
    )


def write_whole(path: Path, text: str) -> Path:
    """Write a file that bears its name only once it is complete."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    return path
