from __future__ import annotations

import numpy as np
import pytest

from medguard.scores import LABELS
from training.examples import make_example
from training.soft_labels import soften
from training.targets import answer_targets, request_targets

HARM = LABELS.index("request_harm>=2")
SEVERE = LABELS.index("request_harm>=3")
ANSWER = LABELS.index("harmfulness>=4")
PRINCIPLE = LABELS.index("principle_1")


def test_known_targets_are_mixed_and_unknown_ones_are_the_teachers() -> None:
    targets = request_targets(2.0, violates=None, general=0.0, severe_known=False)
    request = make_example("r", "s", "g", "text", None, targets)
    (soft,) = soften([request], np.zeros((1, len(LABELS))), weight=0.5)
    assert soft.targets[HARM] == pytest.approx(0.75)
    assert soft.targets[SEVERE] == pytest.approx(0.5)
    assert soft.targets[PRINCIPLE] == pytest.approx(0.5)
    assert (soft.mask[SEVERE], soft.mask[PRINCIPLE]) == (1.0, 1.0)


def test_a_head_that_does_not_apply_stays_unknown() -> None:
    request = make_example("r", "s", "g", "text", None, request_targets(0, violates=(), general=0.0))
    answer = make_example("a", "s", "g", "text", "answer", answer_targets(4, violates=(1,)))
    of_request, of_answer = soften([request, answer], np.full((2, len(LABELS)), 9.0), weight=0.5)
    assert (of_request.mask[ANSWER], of_request.targets[ANSWER]) == (0.0, 0.0)
    assert (of_answer.mask[HARM], of_answer.targets[HARM]) == (0.0, 0.0)
    assert of_answer.mask[PRINCIPLE] == 1.0


def test_without_weight_labels_stay_as_the_judge_gave_them() -> None:
    request = make_example("r", "s", "g", "text", None, request_targets(3, violates=(1,), general=0.0))
    (soft,) = soften([request], np.full((1, len(LABELS)), -9.0), weight=0.0)
    assert soft == request
