"""Measure what a smaller graph loses against the torch model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medguard.errors import MedGuardError
from medguard.scores import LABELS, request_scores, sigmoid

__all__ = ["measure_parity"]

# The quality gate: a graph that loses more AUROC than this is not released.
MAX_AUROC_LOSS = 0.002
_HARMFUL = LABELS.index("request_harm>=2")
_BORDERLINE = LABELS.index("request_harm>=1")
_ANSWER = LABELS.index("harmfulness>=4")
_FEWEST_PER_CLASS = 8
# With fewer, two swapped pairs are a loss that the gate refuses; every release has hundreds.
_FEWEST_GATED = 50


def measure_parity(
    reference: NDArray[np.float64],
    other: NDArray[np.float64],
    targets: NDArray[np.float64],
    mask: NDArray[np.float64],
) -> dict[str, float]:
    """Compare the logits of two graphs on the same examples.

    Args:
        reference: Logits of the torch model in fp32, float64 of shape (examples, labels).
        other: Logits of the smaller graph, same shape.
        targets: Labels in [0, 1], same shape.
        mask: 0 where the label is unknown, same shape.

    Returns:
        Mean and maximum difference of uncalibrated probabilities, and the change of AUROC of the two
        scores that decide (positive: the smaller graph is better).

    Raises:
        MedGuardError: AUROC falls by more than `MAX_AUROC_LOSS` where enough examples tell.
    """
    sure, rounded = sigmoid(reference), sigmoid(other)
    difference = np.abs(sure - rounded)
    result = {
        "mean_probability_difference": float(difference.mean()),
        "max_probability_difference": float(difference.max()),
    }
    borderline = (targets[:, _BORDERLINE] >= 0.5) & (targets[:, _HARMFUL] < 0.5)
    deciding = {
        LABELS[_HARMFUL]: (_HARMFUL, ~borderline, request_scores(sure), request_scores(rounded)),
        LABELS[_ANSWER]: (_ANSWER, True, reference[:, _ANSWER], other[:, _ANSWER]),
    }
    for label, (column, counts, before, after) in deciding.items():
        known = (mask[:, column] > 0) & counts
        positive = targets[known, column] >= 0.5
        fewest = min(positive.sum(), (~positive).sum())
        if fewest < _FEWEST_PER_CLASS:
            continue
        change = roc_auc_score(positive, after[known]) - roc_auc_score(positive, before[known])
        result[f"auroc_change[{label}]"] = float(change)
        if fewest >= _FEWEST_GATED and change < -MAX_AUROC_LOSS:
            raise MedGuardError(
                f"the smaller graph loses {-change:.4f} AUROC on {label}; {MAX_AUROC_LOSS} is allowed"
            )
    return result
