"""Metrics of a guard: both sides at once, with intervals. Built on scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from medguard.calibration import clopper_pearson_upper
from medguard.errors import DataError

__all__ = [
    "Estimate",
    "Ranking",
    "ReliabilityBin",
    "as_number",
    "as_percent",
    "auroc",
    "average_precision",
    "bootstrap",
    "bootstrap_calibration_error",
    "bootstrap_mean",
    "bootstrap_percentile",
    "bootstrap_ranking",
    "expected_calibration_error",
    "holm",
    "proportion",
    "quadratic_weighted_kappa",
    "recall_at_fpr",
    "reliability",
    "share_at_or_above",
    "sign_flip_test",
    "standard_error",
]

Scores = NDArray[np.float64]
_RESAMPLES: Final = 1000
_SEED: Final = 20260101
_BINS: Final = 15
_FLIPS: Final = 9999
_FEW_KINDS: Final = 64
# Of each end of a 95% interval.
_ONE_SIDED: Final = 0.975


class Estimate(TypedDict):
    """A value with its 95% interval: exact for shares, of a bootstrap otherwise."""

    value: float
    low: float
    high: float


class ReliabilityBin(TypedDict):
    """Scores that lie in one bin of a reliability diagram."""

    probability: float
    """Mean predicted probability."""
    frequency: float
    """Share that is positive."""
    count: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well scores put harmful texts above benign ones, each figure with its 95% bootstrap interval."""

    auroc: Estimate
    average_precision: Estimate
    recall_at_fpr: Mapping[float, Estimate]
    """By false positive rate."""


def auroc(harmful: Scores, benign: Scores) -> float:
    """Area under the ROC curve; float64 scores of shape (n,) and (m,), higher is worse.

    Raises:
        DataError: A side is empty, or scikit-learn is missing.
    """
    _require_both(harmful, benign)
    metrics = _metrics()
    labels = np.concatenate([np.ones(len(harmful)), np.zeros(len(benign))])
    return float(metrics.roc_auc_score(labels, np.concatenate([harmful, benign])))


def average_precision(harmful: Scores, benign: Scores) -> float:
    """Area under the precision-recall curve as average precision; scores as for `auroc`.

    It depends on how many texts there are of each side: compare it only between guards on the same texts.

    Raises:
        DataError: A side is empty, or scikit-learn is missing.
    """
    _require_both(harmful, benign)
    labels = np.concatenate([np.ones(len(harmful)), np.zeros(len(benign))])
    return float(_metrics().average_precision_score(labels, np.concatenate([harmful, benign])))


def recall_at_fpr(harmful: Scores, benign: Scores, false_positive_rate: float) -> float:
    """Share of `harmful` above the score that at most `false_positive_rate` of `benign` exceeds.

    The threshold is read off these very scores, so this ranks classifiers; it is not an operating point.

    Raises:
        DataError: A side is empty.
    """
    _require_both(harmful, benign)
    allowed = int(np.floor(false_positive_rate * len(benign)))
    limit = np.sort(benign)[::-1][allowed] if allowed < len(benign) else -np.inf
    return float((harmful > limit).mean())


def share_at_or_above(scores: Scores, threshold: float) -> float:
    """Share of scores that trip at `threshold`: recall on harm, false positive rate on benign text.

    Raises:
        DataError: There are no scores.
    """
    _require(scores, "scores")
    return float((scores >= threshold).mean())


def reliability(probabilities: Scores, labels: NDArray[np.bool_]) -> list[ReliabilityBin]:
    """Compare probability with frequency in 15 equal-width bins; empty bins are left out.

    Raises:
        DataError: There are no scores.
    """
    _require(probabilities, "probabilities")
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    return [
        ReliabilityBin(
            probability=float(probabilities[bins == index].mean()),
            frequency=float(labels[bins == index].mean()),
            count=int((bins == index).sum()),
        )
        for index in np.unique(bins)
    ]


def expected_calibration_error(probabilities: Scores, labels: NDArray[np.bool_]) -> float:
    """Mean gap between probability and frequency over 15 equal-width bins (Naeini et al. 2015).

    Raises:
        DataError: There are no scores.
    """
    bins = reliability(probabilities, labels)
    return sum(abs(item["probability"] - item["frequency"]) * item["count"] for item in bins) / len(
        probabilities
    )


def quadratic_weighted_kappa(one: NDArray[np.int64], other: NDArray[np.int64], levels: list[int]) -> float:
    """Agreement of two raters on an ordinal scale (Cohen 1968)."""
    return float(_metrics().cohen_kappa_score(one, other, weights="quadratic", labels=levels))


def bootstrap(statistic: Callable[..., float], *samples: NDArray[np.generic]) -> Estimate:
    """Percentile bootstrap (Efron 1979), seeded, resampling each sample on its own.

    Args:
        statistic: Takes the samples and gives a number.
        *samples: Arrays; the rows of one array belong together.
    """
    draw = np.random.default_rng(_SEED)
    values = []
    for _ in range(_RESAMPLES):
        picked = [sample[draw.integers(0, len(sample), len(sample))] for sample in samples]
        values.append(statistic(*picked))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return {"value": float(statistic(*samples)), "low": float(low), "high": float(high)}


def bootstrap_mean(values: NDArray[np.generic]) -> Estimate:
    """Mean with its percentile bootstrap interval.

    Drawing values with replacement is drawing how often each kind occurs, so that many values cost as little
    as few where they are of few kinds, such as levels and flags.

    Args:
        values: Numbers or booleans, shape (n,).

    Raises:
        DataError: There are no values.
    """
    if not len(values):
        raise DataError("a mean of no values is undefined")
    kinds, counts = np.unique(values.astype(np.float64), return_counts=True)
    if len(kinds) > _FEW_KINDS:
        return bootstrap(lambda drawn: float(drawn.mean()), values.astype(np.float64))
    draw = np.random.default_rng(_SEED)
    drawn = draw.multinomial(len(values), counts / len(values), size=_RESAMPLES) @ kinds / len(values)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": float(kinds @ counts / len(values)), "low": float(low), "high": float(high)}


def proportion(hits: NDArray[np.bool_]) -> Estimate:
    """Share of hits with its exact interval (Clopper and Pearson 1934).

    A bootstrap of flags that are all alike gives an interval of no width: 0 of 68 would be 0% for certain.

    Args:
        hits: Shape (n,).

    Raises:
        DataError: There are no flags.
    """
    if not len(hits):
        raise DataError("a share of no values is undefined")
    count, total = int(hits.sum()), len(hits)
    return {
        "value": count / total,
        "low": 1.0 - clopper_pearson_upper(total - count, total, _ONE_SIDED),
        "high": clopper_pearson_upper(count, total, _ONE_SIDED),
    }


def bootstrap_percentile(values: Scores, percentile: float) -> Estimate:
    """Percentile (the smallest value that so many per cent do not exceed) with its bootstrap interval.

    The k-th smallest of n values drawn with replacement lies at the k-th smallest of n uniform ranks, which
    is Beta(k, n - k + 1) distributed: drawing from there is drawing from the bootstrap itself, at any n.

    Args:
        values: float64 of shape (n,).
        percentile: Above 0, at most 100.

    Raises:
        DataError: There are no values.
    """
    _require(values, "values")
    count = len(values)
    ordered = np.sort(values)
    rank = max(1, int(np.ceil(percentile / 100.0 * count)))
    shares = np.random.default_rng(_SEED).beta(rank, count - rank + 1, size=_RESAMPLES)
    drawn = ordered[np.minimum((shares * count).astype(np.int64), count - 1)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": float(ordered[rank - 1]), "low": float(low), "high": float(high)}


def bootstrap_calibration_error(probabilities: Scores, labels: NDArray[np.bool_]) -> Estimate:
    """`expected_calibration_error` with its interval, quick for many scores.

    Raises:
        DataError: There are no scores.
    """
    _require(probabilities, "probabilities")
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)

    # A bin's gap, weighted by its count, is the sum of the gaps of what lies in it.
    def error(pairs: NDArray[np.float64]) -> float:
        gaps = np.bincount(pairs[:, 0].astype(np.int64), weights=pairs[:, 1], minlength=_BINS)
        return float(np.abs(gaps).sum() / len(pairs))

    return bootstrap(error, np.column_stack([bins, probabilities - labels]))


def bootstrap_ranking(harmful: Scores, benign: Scores, rates: Sequence[float]) -> Ranking:
    """`auroc`, `average_precision` and `recall_at_fpr` with intervals, for many scores as for few.

    The scores are ranked once; a resample only counts anew how often each is drawn.

    Args:
        harmful: Scores, float64 of shape (n,).
        benign: Scores, float64 of shape (m,).
        rates: False positive rates.

    Raises:
        DataError: A side is empty.
    """
    _require_both(harmful, benign)
    kinds, place = np.unique(np.concatenate([harmful, benign]), return_inverse=True)
    sides = (place[: len(harmful)], place[len(harmful) :])
    draw = np.random.default_rng(_SEED)

    def figures(harmful_places: NDArray[np.int64], benign_places: NDArray[np.int64]) -> list[float]:
        # Counts by score, the highest score first.
        found, alarms = (
            np.bincount(side, minlength=len(kinds))[::-1] for side in (harmful_places, benign_places)
        )
        found_above, alarms_above = np.cumsum(found), np.cumsum(alarms)
        n, m = len(harmful_places), len(benign_places)
        area = float(found @ (m - alarms_above + alarms / 2.0)) / (n * m)
        precision = found_above / np.maximum(found_above + alarms_above, 1)
        recalls = []
        for rate in rates:
            # The benign score that is let through first; only what lies above it is recalled.
            limit = np.searchsorted(alarms_above, int(np.floor(rate * m)), side="right")
            recalls.append(float(found_above[limit - 1] / n) if limit else 0.0)
        return [area, float(found @ precision) / n, *recalls]

    values = np.array(
        [
            figures(*(side[draw.integers(0, len(side), len(side))] for side in sides))
            for _ in range(_RESAMPLES)
        ]
    )
    lows, highs = np.percentile(values, [2.5, 97.5], axis=0)
    estimates: list[Estimate] = [
        {"value": value, "low": float(low), "high": float(high)}
        for value, low, high in zip(figures(*sides), lows, highs, strict=True)
    ]
    return Ranking(
        auroc=estimates[0],
        average_precision=estimates[1],
        recall_at_fpr=dict(zip(rates, estimates[2:], strict=True)),
    )


def standard_error(values: NDArray[np.generic]) -> float | None:
    """Standard error of the mean: sample standard deviation over the root of n; None below two values."""
    if len(values) < 2:
        return None
    return float(values.astype(np.float64).std(ddof=1) / np.sqrt(len(values)))


def sign_flip_test(differences: NDArray[np.int64]) -> float:
    """Two-sided p-value of "the mean of these paired differences is zero": a seeded permutation test.

    Under the hypothesis each difference could as well have the other sign (Fisher 1935); 9,999 draws of
    signs are compared with what was found, which counts as one draw itself (Phipson and Smyth 2010), so that
    p is at least 0.0001. For differences of flags (-1, 0, 1) this is McNemar's exact test, by draws.

    Args:
        differences: Whole numbers, shape (n,).

    Raises:
        DataError: There are no differences.
    """
    if not len(differences):
        raise DataError("a test of no pairs is undefined")
    sizes, counts = np.unique(np.abs(differences.astype(np.int64)), return_counts=True)
    draw = np.random.default_rng(_SEED)
    # How many of the differences of one size are positive says all about their sum.
    positive = draw.binomial(counts, 0.5, size=(_FLIPS, len(sizes)))
    sums = np.abs((2 * positive - counts) @ sizes)
    extreme = int((sums >= abs(int(differences.sum()))).sum())
    return (1 + extreme) / (1 + _FLIPS)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for how many there are, so that one false alarm among all is held down (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def as_percent(estimate: Estimate) -> str:
    """Write a share with its interval, in per cent."""
    return f"{estimate['value']:.1%} ({estimate['low']:.1%} to {estimate['high']:.1%})"


def as_number(estimate: Estimate) -> str:
    """Write a number with its interval."""
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def _require(scores: Scores, name: str) -> None:
    if not len(scores):
        raise DataError(f"a metric of no {name} is undefined")


def _require_both(harmful: Scores, benign: Scores) -> None:
    _require(harmful, "harmful scores")
    _require(benign, "benign scores")


def _metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise DataError("metrics need scikit-learn: pip install 'medguard[bench]'") from error
    return metrics
