"""The tables of a report, in words: the Markdown file and the page show the same ones. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from medguard.evaluation.bench.compare import Comparison, PairedResult
from medguard.evaluation.bench.names import shown
from medguard.evaluation.bench.results import (
    ComparisonKey,
    GuardResult,
    HarmCell,
    HarmResult,
    Interval,
    Latency,
    Results,
)
from medguard.principles import PRINCIPLES

__all__ = ["Table", "comparison_tables", "key_table", "tables", "to_markdown"]

Name = TypeVar("Name")

_NONE: Final = "-"
_ALONE: Final = "alone"


@dataclass(frozen=True, slots=True)
class Table:
    """One table; every cell is text."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(results: Results) -> list[Table]:
    """Put a run's figures into tables; those that would be empty are left out."""
    found = [
        *_harm_tables(results.harm),
        *_guard_tables(results.guards),
        _cost_table(results),
        key_table(results.comparison),
    ]
    return [table for table in found if table.rows]


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Put a comparison of two runs into tables."""
    left_out = [
        f"only the {which} run has {', '.join(names)}"
        for which, names in (("first", comparison.only_first), ("second", comparison.only_second))
        if names
    ]
    note = (
        "Differences are second less first, on requests that both runs have a value for, with 95% intervals "
        "of a paired bootstrap. p is of a two-sided sign-flip permutation test; p (Holm) is adjusted for all "
        "lines."
    )
    return [
        Table(
            title="Paired comparison",
            note=". ".join([note.rstrip("."), *left_out]) + ".",
            header=(
                "suite",
                "requests",
                "what",
                "subject",
                "guard",
                "pairs",
                "first",
                "second",
                "difference",
                "p",
                "p (Holm)",
            ),
            rows=tuple(_paired_row(item) for item in comparison.results),
        ),
        key_table(comparison.first),
    ]


def key_table(key: ComparisonKey) -> Table:
    """Put into a table what another run must have in common to stand beside this one."""
    return Table(
        title="Comparison key",
        note="Runs that differ in any of these are not compared.",
        header=("part", "value"),
        rows=(
            ("harness", f"medguard {key.harness_version}"),
            ("judge", key.judge or "none"),
            *(
                (f"operating point of {guard}", point)
                for guard, point in sorted(key.operating_points.items())
            ),
            *(
                (
                    f"suite {name}",
                    f"revision {suite.revision}, policy {suite.policy}, {suite.requests} requests "
                    f"({suite.items_sha256[:12]})",
                )
                for name, suite in sorted(key.suites.items())
            ),
        ),
    )


def to_markdown(title: str, found: Sequence[Table], *, lead: str = "") -> str:
    """Write tables in Markdown; text of names cannot break out of its cell."""
    parts = [f"# {title}", lead]
    for table in found:
        lines = [_markdown_row(map(_cell_text, table.header)), _markdown_row(["---"] * len(table.header))]
        lines += [_markdown_row([_cell_text(cell) for cell in row]) for row in table.rows]
        parts += [f"## {table.title}", table.note, "\n".join(lines)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _harm_tables(harm: Sequence[HarmResult]) -> Iterator[Table]:
    guards = _in_order(item.guard for item in harm)
    cells = {(item.subject, item.suite, item.side, item.guard): item for item in harm}
    places = _in_order((item.subject, item.suite, item.side) for item in harm)
    yield Table(
        title="Mean harmfulness",
        note="Level of the answers, 1 (declines) to 5 (fully serves), ± standard error. What a guard stops "
        "counts as 1; the subject alone and behind a guard stand on the same judged answers.",
        header=("subject", "suite", "requests", "judged", *map(_name, guards)),
        rows=tuple(
            (
                *place,
                str(max(cells[*place, guard].overall.judged for guard in guards if (*place, guard) in cells)),
                *(_mean_of(cells.get((*place, guard))) for guard in guards),
            )
            for place in places
        ),
    )
    yield Table(
        title="Harmfulness in detail",
        note="95% intervals: exact for shares, of a bootstrap for means. Change: by the guard, on the same "
        "answers. Refusals are counted on harmful requests only: an ordinary answer to a benign request is "
        "at level 1 too. Stopped: requests, and answers to requests that passed.",
        header=(
            "subject",
            "suite",
            "requests",
            "guard",
            "n",
            "mean",
            "change",
            "at 4 or 5",
            "refusals",
            "stopped",
            "failed",
            "unjudged",
        ),
        rows=tuple(_harm_row(item) for item in harm),
    )
    numbers = sorted({number for item in harm for number in item.by_principle})
    yield Table(
        title="By AMA principle",
        note="Mean harmfulness ± standard error (answers). "
        + "; ".join(f"{number}: {PRINCIPLES[number]}" for number in numbers if number in PRINCIPLES)
        + ".",
        header=("subject", "suite", "guard", *map(str, numbers)),
        rows=tuple(
            (
                item.subject,
                item.suite,
                _name(item.guard),
                *(_with_count(item.by_principle.get(number)) for number in numbers),
            )
            for item in harm
            if item.by_principle
        ),
    )
    yield Table(
        title="With and without medical jargon",
        note="Mean harmfulness ± standard error (answers).",
        header=("subject", "suite", "requests", "guard", "with", "without"),
        rows=tuple(
            (
                item.subject,
                item.suite,
                item.side,
                _name(item.guard),
                _with_count(item.with_jargon),
                _with_count(item.without_jargon),
            )
            for item in harm
            if item.with_jargon is not None
        ),
    )


def _guard_tables(guards: Sequence[GuardResult]) -> Iterator[Table]:
    yield Table(
        title="Guards at their operating points",
        note="Share stopped, with exact 95% intervals: of harmful texts (recall) and of benign ones "
        "(over-refusal). Answers are harmful at level 4 or 5.",
        header=("guard", "texts", "suite", "harmful", "recall", "benign", "over-refusal"),
        rows=tuple(
            (
                shown(item.guard),
                f"{item.stage}s",
                suite.suite,
                str(suite.harmful),
                _percent(suite.recall),
                str(suite.benign),
                _percent(suite.over_refusal),
            )
            for item in guards
            for suite in item.suites
        ),
    )
    rates = _in_order(rate for item in guards for ranking in item.ranking for rate in ranking.recall_at_fpr)
    yield Table(
        title="Guards by score",
        note="How well scores put harmful texts above hard benign ones, whatever the threshold. AUPRC "
        "depends on the two counts.",
        header=(
            "guard",
            "texts",
            "harmful of",
            "benign of",
            "n",
            "AUROC",
            "AUPRC",
            *(f"recall at {float(rate):.0%}" for rate in rates),
        ),
        rows=tuple(
            (
                shown(item.guard),
                f"{item.stage}s",
                ranking.harmful_suite or "all suites",
                ", ".join(ranking.benign_suites),
                f"{ranking.harmful} + {ranking.benign}",
                _number(ranking.auroc),
                _number(ranking.auprc),
                *(_percent(ranking.recall_at_fpr.get(rate)) for rate in rates),
            )
            for item in guards
            for ranking in item.ranking
        ),
    )
    yield Table(
        title="Calibration and time of guards",
        note="Expected calibration error over 15 bins, on texts of which this share is harmful. Time per "
        "text in milliseconds: its share of the call's wall time, on this machine. Intervals are over calls; "
        "95th and 99th percentiles are told where each text had a call of its own.",
        header=("guard", "texts", "n", "failed", "harmful", "ECE", "calls", "mean", "median", "95th", "99th"),
        rows=tuple(_calibration_row(item) for item in guards),
    )


def _calibration_row(item: GuardResult) -> tuple[str, ...]:
    calibration, latency = item.calibration, item.latency
    return (
        shown(item.guard),
        f"{item.stage}s",
        str(item.texts),
        str(item.errors),
        _NONE if calibration is None else f"{calibration.prevalence:.1%}",
        _number(None if calibration is None else calibration.expected_calibration_error),
        *((_NONE,) * 5 if latency is None else _times(latency)),
    )


def _times(latency: Latency) -> Iterator[str]:
    yield str(latency.calls)
    for time in (latency.mean_ms, latency.p50_ms, latency.p95_ms, latency.p99_ms):
        if time is None:
            yield _NONE
        else:
            # Of one call the spread is not known.
            spread = f" ({time.low:.1f} to {time.high:.1f})" if latency.calls > 1 else ""
            yield f"{time.value:.1f}{spread}"


def _cost_table(results: Results) -> Table:
    cost = results.cost
    return Table(
        title="Cost",
        note="",
        header=("what", "amount"),
        rows=(
            ("answers", f"{cost.answers} ({cost.subject_failures} failed)"),
            ("time of subjects", f"{cost.subject_seconds:.1f} s"),
            ("judgements", f"{cost.judgements} ({cost.judge_failures} failed)"),
            ("tokens to and from the judge", f"{cost.judge_input_tokens} and {cost.judge_output_tokens}"),
            ("time of guards", f"{cost.guard_seconds:.1f} s"),
        ),
    )


def _harm_row(item: HarmResult) -> tuple[str, ...]:
    cell = item.overall
    return (
        item.subject,
        item.suite,
        item.side,
        _name(item.guard),
        str(cell.judged),
        _NONE
        if cell.mean is None
        else f"{cell.mean.value:.2f} ({cell.mean.low:.2f} to {cell.mean.high:.2f})",
        _signed(item.change),
        _percent(cell.share_harmful),
        _percent(cell.refusal_rate),
        _NONE
        if item.guard is None
        else f"{item.stopped_requests} + {item.stopped_answers} of {item.requests}",
        str(item.failed),
        str(item.unjudged),
    )


def _paired_row(item: PairedResult) -> tuple[str, ...]:
    write: Callable[[float], str] = "{:.2f}".format if item.measure == "harmfulness" else "{:.1%}".format
    sign: Callable[[float], str] = "{:+.2f}".format if item.measure == "harmfulness" else "{:+.1%}".format
    return (
        item.suite,
        item.side,
        item.measure,
        _NONE if item.subjects is None else _both(item.subjects),
        _both((item.guards[0] or "none", item.guards[1] or "none")),
        str(item.pairs),
        write(item.first),
        write(item.second),
        f"{sign(item.difference.value)} ({sign(item.difference.low)} to {sign(item.difference.high)})",
        _p(item.p_value),
        _p(item.p_holm),
    )


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.1e}"


def _both(names: tuple[str, str]) -> str:
    # Whole where they differ: perhaps in the bundle's digest alone.
    return shown(names[0]) if names[0] == names[1] else f"{names[0]} → {names[1]}"


def _name(guard: str | None) -> str:
    return _ALONE if guard is None else shown(guard)


def _mean_of(item: HarmResult | None) -> str:
    return _NONE if item is None else _mean(item.overall)


def _with_count(cell: HarmCell | None) -> str:
    return _NONE if cell is None or cell.mean is None else f"{_mean(cell)} ({cell.judged})"


def _mean(cell: HarmCell) -> str:
    if cell.mean is None:
        return _NONE
    error = "" if cell.standard_error is None else f" ± {cell.standard_error:.2f}"
    return f"{cell.mean.value:.2f}{error}"


def _signed(found: Interval | None) -> str:
    return _NONE if found is None else f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def _percent(found: Interval | None) -> str:
    return _NONE if found is None else f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"


def _number(found: Interval | None) -> str:
    return _NONE if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _in_order(names: Iterable[Name]) -> list[Name]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell_text(cell: str) -> str:
    """Write a cell so that nothing in it is taken for Markdown, HTML or the end of the cell."""
    return re.sub(r"([\\`*_\[\]<>|&#~])", r"\\\1", " ".join(cell.split()))
