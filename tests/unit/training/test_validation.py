from __future__ import annotations

import numpy as np
import pytest

from medguard.scores import LABELS
from training.examples import Example
from training.targets import answer_targets, request_targets
from training.validation import validate


def made() -> list[Example]:
    examples = []
    for number in range(60):
        violated = 1 + number % 9
        harmful = request_targets(2 + number % 2, violates=(violated,), general=False)
        benign = request_targets(0, violates=(), general=False)
        answer = answer_targets(1 + number % 5, violates=())
        for source, response, targets in (
            ("medsafetybench", None, harmful),
            ("contrast", None, benign),
            ("restyled", None, harmful),
            ("restyled", None, benign),
            ("everyday", None, harmful),
            ("everyday", None, benign),
            ("general_harm", None, harmful),
            ("judged_answers", "An answer.", answer),
        ):
            examples.append(Example(f"{source}-{number}", source, f"g{number}", "Q", response, *targets))
    return examples


def test_a_perfect_classifier_is_seen_as_perfect() -> None:
    examples = made()
    logits = 20.0 * (np.array([item.targets for item in examples]) - 0.5)
    figures = validate(logits, examples)
    assert figures.pop("everyday_benign_above_2%_fpr") == 0.0
    assert figures == pytest.approx(dict.fromkeys(figures, 1.0))


def test_a_classifier_that_knows_nothing_is_seen_as_such() -> None:
    examples = made()
    logits = np.random.default_rng(8).normal(size=(len(examples), len(LABELS)))
    figures = validate(logits, examples)
    assert 0.3 < figures["request_auroc"] < 0.7
    assert figures["request_recall_at_2%_fpr"] < 0.3
    assert abs(figures["answer_kappa"]) < 0.4
    assert figures["top_principle_in_list"] < 0.4
