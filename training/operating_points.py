"""Which held-out texts calibrate a bundle, and which fix its named thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medguard.bundle import OperatingPoint
from medguard.classifier import Classifier
from medguard.scores import LABELS
from training.calibration import threshold_at
from training.config import TrainingConfig
from training.examples import Example

__all__ = ["calibrates", "operating_points"]


def calibrates(held_out: Sequence[Example]) -> NDArray[np.float64]:
    """1 where an example may calibrate a label, else 0; shape (examples, labels).

    How common harm is differs from source to source: the request head is calibrated on medical requests as
    they were asked, not on copies, rephrasings or general harm.
    """
    of_requests = np.array([label.startswith("request_harm") for label in LABELS])
    medical = np.array([item.is_medical_request for item in held_out])
    return np.where(of_requests & ~medical[:, None], 0.0, 1.0)


def operating_points(
    classifier: Classifier, config: TrainingConfig, held_out: Sequence[Example]
) -> dict[str, OperatingPoint]:
    """Fix thresholds on the benign held-out texts, scored as a user's text would be."""
    requests = [item.prompt for item in held_out if item.is_benign_medical_request]
    answers = [item for item in held_out if item.is_harmless_answer]
    prompt_scores = _deciding(classifier, requests, None)
    response_scores = _deciding(
        classifier, [item.prompt for item in answers], [item.response or "" for item in answers]
    )
    return {
        name: OperatingPoint(
            prompt_threshold=threshold_at(prompt_scores, rate),
            response_threshold=threshold_at(response_scores, rate),
            target_false_positive_rate=rate,
        )
        for name, rate in config.operating_points.items()
    }


def _deciding(classifier: Classifier, prompts: list[str], responses: list[str] | None) -> NDArray[np.float64]:
    return np.array([item.deciding_score for item in classifier.score_many(prompts, responses)])
