"""Two runs on the same requests, compared pair by pair. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from medguard.errors import DataError
from medguard.evaluation.bench.analysis import guarded_levels
from medguard.evaluation.bench.observed import HARMFUL_LEVEL, Observed, Texts
from medguard.evaluation.bench.results import ComparisonKey, Interval, check_comparable, interval
from medguard.evaluation.metrics import bootstrap_mean, holm, sign_flip_test

__all__ = ["COMPARISON_SCHEMA_VERSION", "Comparison", "PairedResult", "compare"]

COMPARISON_SCHEMA_VERSION: Final = 1

Whole = NDArray[np.int64]
Measure: TypeAlias = Literal["harmfulness", "share at 4 or 5", "refusal rate", "recall", "over-refusal"]


class PairedResult(BaseModel):
    """One figure of both runs on the requests that both have, and whether they differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Measure
    """``recall`` and ``over-refusal`` are shares of requests that the guard alone stops."""
    suite: str
    side: Literal["harmful", "benign"]
    subjects: tuple[str, str] | None
    """First and second run's; None where the guards alone are compared."""
    guards: tuple[str | None, str | None]
    """First and second run's; None is no guard."""
    pairs: int
    """Requests with a value in both runs."""
    first: float
    second: float
    difference: Interval
    """Second less first, with the interval of a paired bootstrap."""
    p_value: float
    """Of the sign-flip permutation test on the paired differences, two-sided."""
    p_holm: float
    """The same, adjusted for all lines of this comparison (Holm 1979)."""


class Comparison(BaseModel):
    """All that two runs have in common, side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    first: ComparisonKey
    second: ComparisonKey
    only_first: tuple[str, ...]
    """Suites of the first run alone, which are not compared."""
    only_second: tuple[str, ...]
    results: tuple[PairedResult, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    measure: Measure
    suite: str
    harmful: bool
    subjects: tuple[str, str] | None
    guards: tuple[str | None, str | None]
    one: Whole
    other: Whole


def compare(
    first: Observed,
    first_key: ComparisonKey,
    second: Observed,
    second_key: ComparisonKey,
) -> Comparison:
    """Compare two runs on each shared suite, by requests that both have a value for.

    Subjects and guards of the same name stand beside each other. Where the runs share no subject, or no
    guard, and each has exactly one, these two stand beside each other.

    Raises:
        DataError: The comparison keys differ, or there is nothing to pair.
    """
    check_comparable(first_key, second_key)
    suites = sorted(first_key.suites.keys() & second_key.suites.keys())
    lines = [
        line
        for suite in suites
        for line in (*_outcome_lines(first, second, suite), *_guard_lines(first, second, suite))
    ]
    if not lines:
        raise DataError("these runs share no judged answer and no guard's judgement: nothing can be paired")
    adjusted = holm([sign_flip_test(line.other - line.one) for line in lines])
    return Comparison(
        first=first_key,
        second=second_key,
        only_first=tuple(sorted(first_key.suites.keys() - second_key.suites.keys())),
        only_second=tuple(sorted(second_key.suites.keys() - first_key.suites.keys())),
        results=tuple(
            PairedResult(
                measure=line.measure,
                suite=line.suite,
                side="harmful" if line.harmful else "benign",
                subjects=line.subjects,
                guards=line.guards,
                pairs=len(line.one),
                first=float(line.one.mean()),
                second=float(line.other.mean()),
                difference=interval(bootstrap_mean(line.other - line.one)),
                p_value=sign_flip_test(line.other - line.one),
                p_holm=p_holm,
            )
            for line, p_holm in zip(lines, adjusted, strict=True)
        ),
    )


def _outcome_lines(first: Observed, second: Observed, suite: str) -> Iterator[_Line]:
    for harmful in (True, False):
        subjects = _paired(
            *(
                [subject for subject, name, side in sorted(run.outcomes) if (name, side) == (suite, harmful)]
                for run in (first, second)
            )
        )
        for pair in subjects:
            sides = tuple(
                run.outcomes[subject, suite, harmful]
                for run, subject in zip((first, second), pair, strict=True)
            )
            guards = _paired(*(sorted(side.stopped_request) for side in sides))
            for with_guards in ((None, None), *guards):
                one, other = (
                    dict(
                        zip(
                            side.ids,
                            guarded_levels(side, guard, judges_answers=guard in run.judges_answers),
                            strict=True,
                        )
                    )
                    for side, run, guard in zip(sides, (first, second), with_guards, strict=True)
                )
                both = [name for name in one if one[name] > 0 and other.get(name, 0) > 0]
                if not both:
                    continue
                levels = tuple(
                    np.array([values[name] for name in both], dtype=np.int64) for values in (one, other)
                )
                for measure, of in _level_measures(harmful):
                    yield _Line(measure, suite, harmful, pair, with_guards, of(levels[0]), of(levels[1]))


def _level_measures(harmful: bool) -> Iterator[tuple[Measure, Callable[[Whole], Whole]]]:
    yield "harmfulness", lambda levels: levels
    yield "share at 4 or 5", lambda levels: (levels >= HARMFUL_LEVEL).astype(np.int64)
    # An ordinary answer to a benign request is at level 1 too: no refusal.
    if harmful:
        yield "refusal rate", lambda levels: (levels == 1).astype(np.int64)


def _guard_lines(first: Observed, second: Observed, suite: str) -> Iterator[_Line]:
    for guards in _paired(sorted(first.requests), sorted(second.requests)):
        flags = [
            _flags_of(run.requests[guard], suite) for run, guard in zip((first, second), guards, strict=True)
        ]
        for harmful in (True, False):
            both = [key for key in flags[0] if key[1] is harmful and key in flags[1]]
            if both:
                one, other = (np.array([side[key] for key in both], dtype=np.int64) for side in flags)
                measure: Measure = "recall" if harmful else "over-refusal"
                yield _Line(measure, suite, harmful, None, guards, one, other)


def _flags_of(texts: Texts, suite: str) -> dict[tuple[str, bool], bool]:
    return {
        (name, harmful): flagged
        for name, of, harmful, flagged in zip(
            texts.ids, texts.suite, texts.harmful, texts.flagged, strict=True
        )
        if of == suite
    }


def _paired(one: Sequence[str], other: Sequence[str]) -> list[tuple[str, str]]:
    """Pair names that are in both; else the only names of each."""
    shared = [(name, name) for name in one if name in other]
    if not shared and len(one) == len(other) == 1:
        return [(one[0], other[0])]
    return shared
