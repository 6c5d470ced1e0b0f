"""From held-out logits to probabilities that mean what they say, and to thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from medguard.bundle import Calibration
from medguard.scores import LABELS

__all__ = ["fit_platt", "sigmoid", "threshold_at"]

# With fewer examples of either class a fitted slope is noise.
_FEWEST_PER_CLASS = 8


def fit_platt(
    logits: NDArray[np.float64], targets: NDArray[np.float64], mask: NDArray[np.float64]
) -> dict[str, Calibration]:
    """Fit scale and offset per label on held-out logits (Platt 1999, without his target smoothing).

    Args:
        logits: Float64 of shape (examples, labels).
        targets: Same shape; at or above 0.5 counts as positive.
        mask: Same shape; 0 where the label is unknown.

    Returns:
        One calibration per label; the identity where a class is too rare or the logit does not rank.
    """
    fitted = {}
    for column, label in enumerate(LABELS):
        known = mask[:, column] > 0
        positive = targets[known, column] >= 0.5
        fitted[label] = Calibration()
        if min(positive.sum(), (~positive).sum()) < _FEWEST_PER_CLASS:
            continue
        regression = LogisticRegression(C=1.0).fit(logits[known, column : column + 1], positive)
        scale, offset = float(regression.coef_[0, 0]), float(regression.intercept_[0])
        if scale > 0:
            fitted[label] = Calibration(scale=round(scale, 6), offset=round(offset, 6))
    return fitted


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits, without overflow; any shape."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def threshold_at(benign_scores: NDArray[np.float64], false_positive_rate: float) -> float:
    """Lowest threshold that flags at most `false_positive_rate` of the benign scores.

    It lies midway between the last flagged and the first passed score, so it does not sit on a text; where
    those are equal, just above them, so that all of them pass.

    Raises:
        ValueError: There are no scores.
    """
    if not len(benign_scores):
        raise ValueError("a threshold needs at least one benign score")
    descending = np.sort(benign_scores)[::-1]
    flagged = int(np.floor(false_positive_rate * len(descending)))
    upper = descending[flagged - 1] if flagged else 1.0
    lower = descending[min(flagged, len(descending) - 1)]
    return float(min(1.0, max((upper + lower) / 2.0, np.nextafter(lower, np.inf))))
