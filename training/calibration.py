"""From held-out logits to probabilities that mean what they say, and to thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from medguard.bundle import Calibration
from medguard.scores import LABELS, sigmoid

__all__ = ["fit_beta", "threshold_at"]

# With fewer examples of either class fitted slopes are noise.
_FEWEST_PER_CLASS = 8
_SMALLEST_SLOPE = 0.01


def fit_beta(
    logits: NDArray[np.float64], targets: NDArray[np.float64], mask: NDArray[np.float64]
) -> dict[str, Calibration]:
    """Fit two slopes and an offset per label on held-out logits (beta calibration, Kull et al. 2017).

    A classifier that is too sure of what it calls benign and too little of what it calls harmful has another
    slope on either side of 0, which Platt scaling (1999) cannot give. The slopes are drawn towards 1 by a
    small quadratic penalty, and kept positive, so that the order of texts stays.

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
        slopes_and_offset = _fit(logits[known, column], positive)
        if slopes_and_offset[:2].max() > _SMALLEST_SLOPE:
            below, above, offset = (round(float(value), 6) for value in slopes_and_offset)
            fitted[label] = Calibration(below=below, above=above, offset=offset)
    return fitted


def _fit(logits: NDArray[np.float64], positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Slope below 0, slope above 0 and offset with the least penalised cross-entropy."""
    columns = np.stack([-np.logaddexp(0.0, -logits), np.logaddexp(0.0, logits), np.ones_like(logits)], axis=1)

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = columns @ values
        away = np.append(values[:2] - 1.0, 0.0)
        entropy = (np.logaddexp(0.0, scaled) - positive * scaled).sum()
        return float(entropy + 0.5 * away @ away), columns.T @ (sigmoid(scaled) - positive) + away

    bounds = [(_SMALLEST_SLOPE, None), (_SMALLEST_SLOPE, None), (None, None)]
    # Convex, so that wherever it ends up is the one minimum to within the optimiser's tolerance.
    found = minimize(loss, np.array([1.0, 1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return np.asarray(found.x, dtype=np.float64)


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
