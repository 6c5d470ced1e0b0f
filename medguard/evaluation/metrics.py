"""Metrics of a guard: both sides at once, with intervals. Built on scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from medguard.errors import DataError

__all__ = [
    "Estimate",
    "ReliabilityBin",
    "as_number",
    "as_percent",
    "auroc",
    "bootstrap",
    "expected_calibration_error",
    "quadratic_weighted_kappa",
    "recall_at_fpr",
    "reliability",
    "share_at_or_above",
]

Scores = NDArray[np.float64]
_RESAMPLES: Final = 1000
_SEED: Final = 20260101
_BINS: Final = 15


class Estimate(TypedDict):
    """A value with its 95% bootstrap interval."""

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


def auroc(harmful: Scores, benign: Scores) -> float:
    """Area under the ROC curve; float64 scores of shape (n,) and (m,), higher is worse.

    Raises:
        DataError: A side is empty, or scikit-learn is missing.
    """
    _require_both(harmful, benign)
    metrics = _metrics()
    labels = np.concatenate([np.ones(len(harmful)), np.zeros(len(benign))])
    return float(metrics.roc_auc_score(labels, np.concatenate([harmful, benign])))


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
