from __future__ import annotations

import numpy as np
import pytest

from medguard.scores import LABELS
from training.examples import make_example
from training.soft_labels import drop_settled, soften
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


def test_what_the_teacher_knows_is_dropped_and_what_it_doubts_is_kept() -> None:
    benign = request_targets(0, violates=(), general=0.0)
    known = make_example("known", "s", "g", "text", None, benign)
    doubted = make_example("doubted", "s", "g", "text", None, request_targets(2, violates=(1,), general=0.0))
    answer = make_example("answer", "s", "g", "text", "answer", answer_targets(4, violates=()))
    logits = np.full((3, len(LABELS)), -9.0)
    assert drop_settled([known, doubted, answer], logits, 0.0, seed=1) == [1, 2]
    assert drop_settled([known, doubted, answer], logits, 1.0, seed=1) == [0, 1, 2]
    # A column that is unknown for a text settles nothing and unsettles nothing.
    logits[2, ANSWER - 2 : ANSWER + 1] = 9.0
    logits[2, HARM] = 9.0
    assert drop_settled([known, doubted, answer], logits, 0.0, seed=1) == [1]


def test_the_share_of_what_is_known_is_drawn_by_the_seed() -> None:
    benign = request_targets(0, violates=(), general=0.0)
    known = [make_example(f"k{number}", "s", "g", "text", None, benign) for number in range(400)]
    logits = np.full((400, len(LABELS)), -9.0)
    chosen = drop_settled(known, logits, 0.3, seed=1)
    assert 80 < len(chosen) < 160
    assert chosen == drop_settled(known, logits, 0.3, seed=1)
    assert chosen != drop_settled(known, logits, 0.3, seed=2)
