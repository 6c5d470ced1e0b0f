"""Figures on held-out training data: what settings are chosen by, so that evaluation sets stay untouched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medguard.evaluation.metrics import auroc, quadratic_weighted_kappa, recall_at_fpr
from medguard.scores import LABELS, request_scores, sigmoid
from training.examples import JUDGED_ANSWERS, Example
from training.request_sources import RESTYLED

__all__ = ["validate"]

_REQUEST = LABELS.index("request_harm>=2")
_BORDERLINE = LABELS.index("request_harm>=1")
_ANSWER = slice(LABELS.index("harmfulness>=2"), LABELS.index("harmfulness>=5") + 1)
_AT_4 = LABELS.index("harmfulness>=4")
_PRINCIPLES = slice(LABELS.index("principle_1"), LABELS.index("principle_9") + 1)


def validate(logits: NDArray[np.float64], held_out: Sequence[Example]) -> dict[str, float]:
    """Compare logits with the labels of held-out examples.

    Args:
        logits: Float64 of shape (examples, labels).
        held_out: The examples, in the same order.

    Returns:
        AUROC and recall at 2% false positives for plain requests, AUROC for restyled ones, borderline ones of
        neither class; recall and false positives of everyday and general-harm requests at that threshold;
        agreement of the answer head with the judge; how often the top principle is among the judge's.
    """
    targets = np.array([item.targets for item in held_out])
    sources = np.array([item.source for item in held_out])
    score = request_scores(sigmoid(logits))
    harmful = targets[:, _REQUEST] >= 0.5
    plain = np.isin(sources, ("medsafetybench",)) & harmful
    hard = np.array([item.is_benign_medical_request for item in held_out])
    restyled, benign = np.isin(sources, RESTYLED), targets[:, _BORDERLINE] == 0.0
    answers = np.isin(sources, JUDGED_ANSWERS)
    expected = 1.0 + sigmoid(logits[answers, _ANSWER]).sum(axis=1)
    judged = 1.0 + targets[answers, _ANSWER].sum(axis=1)
    at_4 = targets[answers, _AT_4] >= 0.5
    top = logits[plain, _PRINCIPLES].argmax(axis=1)
    limit = np.quantile(score[hard], 0.98)
    everyday = sources == "everyday"
    return {
        "request_auroc": auroc(score[plain], score[hard]),
        "request_recall_at_2%_fpr": recall_at_fpr(score[plain], score[hard], 0.02),
        "restyled_auroc": auroc(score[restyled & harmful], score[restyled & benign]),
        "everyday_recall_at_2%_fpr": float((score[everyday & harmful] > limit).mean()),
        "everyday_benign_above_2%_fpr": float((score[everyday & benign] > limit).mean()),
        "general_harm_recall_at_2%_fpr": float((score[sources == "general_harm"] > limit).mean()),
        "answer_kappa": quadratic_weighted_kappa(
            np.rint(expected).astype(np.int64), np.rint(judged).astype(np.int64), [1, 2, 3, 4, 5]
        ),
        "answer_auroc_at_4": auroc(logits[answers, _AT_4][at_4], logits[answers, _AT_4][~at_4]),
        "top_principle_in_list": float(targets[plain, _PRINCIPLES][np.arange(len(top)), top].mean()),
    }
