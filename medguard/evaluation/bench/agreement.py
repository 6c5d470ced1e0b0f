"""Agreement of two judges on the five-level scale, with bootstrap intervals. Pure.

All statistics here are functions of the 5 x 5 table of counts, so that resampling answers is resampling
cells: thousands of resamples cost next to nothing, whatever the number of answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from medguard.errors import DataError
from medguard.evaluation.bench.judge_labels import Label
from medguard.evaluation.bench.rubric import LEVELS
from medguard.evaluation.metrics import Estimate

__all__ = ["Agreement", "Matched", "agreement", "match_labels"]

Table = NDArray[np.float64]

_SIZE: Final = len(LEVELS)
_HARMFUL: Final = 4
_CHUNK_CELLS: Final = 4_000_000
_MARGINS: Final = np.arange(_SIZE, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two judges agree; each estimate has a 95% bootstrap interval, None where it is undefined."""

    answers: int
    """Answers that both judged."""
    quadratic_weighted_kappa: Estimate | None
    """Cohen 1968, weights by squared distance: 1 is perfect, 0 is chance. Undefined where both judges give
    one and the same level only."""
    spearman: Estimate | None
    """Rank correlation (Spearman 1904), ties at their mean rank. Undefined where a judge gives one level
    only."""
    exact: Estimate
    """Share of answers at the same level."""
    within_one: Estimate
    """Share of answers at most one level apart."""
    harmful_kappa: Estimate | None
    """Cohen's kappa of "level 4 or 5"."""
    mean_difference: Estimate
    """Mean level of the second judge less that of the first, in levels."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts: first judge's level in rows, second judge's in columns, both from 1 to 5."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Matched:
    """Levels that two files give the same answers."""

    one: tuple[int, ...]
    other: tuple[int, ...]
    requests: tuple[str, ...]
    """Id of the request of each answer."""
    only_one: int
    """Labels of the first file without a partner."""
    only_other: int
    by_answer: bool
    """Whether answers were matched by digest; else by id alone, as one file does not say what it judged."""


def agreement(
    one: Sequence[int],
    other: Sequence[int],
    *,
    requests: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 20260101,
) -> Agreement:
    """Compare the levels that two judges give the same answers.

    Args:
        one: Levels, 1 to 5.
        other: Levels of the other judge, in the same order.
        requests: Request of each answer: answers to one request are resampled together, for they are not
            independent. None takes each answer for itself.
        resamples: Bootstrap resamples (Efron 1979, percentile intervals).
        seed: Of the resampling.

    Raises:
        DataError: There are no answers, lengths differ, or a level is none.
        ValueError: `resamples` is below 1.
    """
    if resamples < 1:
        raise ValueError(f"need resamples >= 1, found {resamples}")
    if len(one) != len(other) or (requests is not None and len(requests) != len(one)):
        raise DataError(f"expected as many levels of both judges, found {len(one)} and {len(other)}")
    if not len(one):
        raise DataError("agreement on no answers is undefined")
    if wrong := [level for level in (*one, *other) if level not in LEVELS]:
        raise DataError(f"a level is an integer from 1 to 5, found {len(wrong)} others")
    cells = (np.asarray(one, dtype=np.int64) - 1) * _SIZE + np.asarray(other, dtype=np.int64) - 1
    table = np.bincount(cells, minlength=_SIZE**2)
    draw = np.random.default_rng(seed)
    drawn = _resample(cells, requests, resamples, draw).reshape(-1, _SIZE, _SIZE)
    actual = table.reshape(1, _SIZE, _SIZE).astype(np.float64)

    def estimate(statistic: Callable[[Table], Table]) -> Estimate | None:
        value = statistic(actual)[0]
        if np.isnan(value):
            return None
        # A resample may hold one level only, where a statistic is undefined; it then says nothing.
        values = statistic(drawn)
        defined = values[~np.isnan(values)]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (value, value)
        return {"value": float(value), "low": float(low), "high": float(high)}

    def certain(statistic: Callable[[Table], Table]) -> Estimate:
        found = estimate(statistic)
        if found is None:
            raise DataError("agreement on no answers is undefined")
        return found

    return Agreement(
        answers=len(one),
        quadratic_weighted_kappa=estimate(_quadratic_kappa),
        spearman=estimate(_spearman),
        exact=certain(lambda tables: _share(tables, 0)),
        within_one=certain(lambda tables: _share(tables, 1)),
        harmful_kappa=estimate(_harmful_kappa),
        mean_difference=certain(_mean_difference),
        confusion=tuple(tuple(int(count) for count in row) for row in table.reshape(_SIZE, _SIZE)),
    )


def match_labels(one: Sequence[Label], other: Sequence[Label]) -> Matched:
    """Pair the labels of two judges.

    Labels are paired by request and answer. Where a file does not say which answer it judged, such as the
    project's second judge, ids alone pair them, and then each file may hold an id once only.

    Raises:
        DataError: Nothing is in both, or an answer has labels in one file that differ.
    """
    by_answer = all(label.answer_sha256 is not None for label in (*one, *other))
    first, second = _by_key(one, by_answer), _by_key(other, by_answer)
    both = [key for key in first if key in second]
    if not both:
        what = "the same answer" if by_answer else "the same id"
        raise DataError(f"the two files have no label of {what} in common")
    return Matched(
        one=tuple(first[key] for key in both),
        other=tuple(second[key] for key in both),
        requests=tuple(key[0] for key in both),
        only_one=len(first) - len(both),
        only_other=len(second) - len(both),
        by_answer=by_answer,
    )


def _by_key(labels: Sequence[Label], by_answer: bool) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for label in labels:
        key = (label.id, (label.answer_sha256 or "") if by_answer else "")
        known = found.setdefault(key, label.harmfulness)
        if known != label.harmfulness:
            raise DataError(
                f"{label.id} has labels of different levels in one file"
                + (
                    ""
                    if by_answer
                    else ": it holds several answers, and the other file does not say which it judged"
                )
            )
    if not by_answer and (
        repeated := [name for name, n in Counter(label.id for label in labels).items() if n > 1]
    ):
        raise DataError(f"{len(repeated)} ids stand in one file more than once, the first {repeated[0]}")
    return found


def _resample(
    cells: NDArray[np.int64], requests: Sequence[str] | None, resamples: int, draw: np.random.Generator
) -> Table:
    """Return counts, float64 of shape (resamples, 25)."""
    if requests is None or len(set(requests)) == len(cells):
        # Drawing answers with replacement is drawing the cells of their table.
        shares = np.bincount(cells, minlength=_SIZE**2) / len(cells)
        return draw.multinomial(len(cells), shares, size=resamples).astype(np.float64)
    names, group = np.unique(np.asarray(requests), return_inverse=True)
    tables = np.zeros((len(names), _SIZE**2), dtype=np.float64)
    np.add.at(tables, (group, cells), 1.0)
    chunk = max(1, _CHUNK_CELLS // len(names))
    even = np.full(len(names), 1.0 / len(names))
    parts = [
        draw.multinomial(len(names), even, size=min(chunk, resamples - start)) @ tables
        for start in range(0, resamples, chunk)
    ]
    return np.concatenate(parts)


def _kappa(tables: Table, weights: Table) -> Table:
    """Weighted kappa of tables of shape (n, k, k); NaN where no disagreement was to be expected by chance."""
    total = tables.sum(axis=(1, 2))
    expected = tables.sum(axis=2)[:, :, None] * tables.sum(axis=1)[:, None, :] / total[:, None, None]
    found, by_chance = (tables * weights).sum(axis=(1, 2)), (expected * weights).sum(axis=(1, 2))
    return _divided(by_chance - found, by_chance)


def _quadratic_kappa(tables: Table) -> Table:
    return _kappa(tables, (_MARGINS[:, None] - _MARGINS[None, :]) ** 2)


def _harmful_kappa(tables: Table) -> Table:
    cut = _HARMFUL - 1
    starts = np.array([0, cut])
    halves = np.add.reduceat(np.add.reduceat(tables, starts, axis=1), starts, axis=2)
    return _kappa(halves, 1.0 - np.eye(2))


def _spearman(tables: Table) -> Table:
    rows, columns = tables.sum(axis=2), tables.sum(axis=1)
    total = rows.sum(axis=1, keepdims=True)
    # Mean rank of a level, less the mean of all ranks.
    x, y = (np.cumsum(counts, axis=1) - counts / 2.0 - total / 2.0 for counts in (rows, columns))
    covariance = (tables * x[:, :, None] * y[:, None, :]).sum(axis=(1, 2))
    return _divided(covariance, np.sqrt((rows * x**2).sum(axis=1) * (columns * y**2).sum(axis=1)))


def _share(tables: Table, distance: int) -> Table:
    near = np.abs(_MARGINS[:, None] - _MARGINS[None, :]) <= distance
    return np.asarray((tables * near).sum(axis=(1, 2)) / tables.sum(axis=(1, 2)), dtype=np.float64)


def _mean_difference(tables: Table) -> Table:
    difference = _MARGINS[None, :] - _MARGINS[:, None]
    return np.asarray((tables * difference).sum(axis=(1, 2)) / tables.sum(axis=(1, 2)), dtype=np.float64)


def _divided(above: Table, below: Table) -> Table:
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)
