from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from medguard.errors import DataError
from medguard.evaluation import metrics

scores = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1, width=32))


def test_auroc_of_known_scores() -> None:
    # Of the four pairs three are in order.
    assert metrics.auroc(np.array([0.9, 0.4]), np.array([0.5, 0.1])) == 0.75


def test_recall_counts_only_above_the_limit() -> None:
    benign = np.linspace(0.0, 0.99, 100)
    harmful = np.array([0.5, 0.975, 0.985, 0.995])
    assert metrics.recall_at_fpr(harmful, benign, 0.0) == 0.25
    assert metrics.recall_at_fpr(harmful, benign, 0.01) == 0.5
    assert metrics.recall_at_fpr(harmful, benign, 0.02) == 0.75
    assert metrics.recall_at_fpr(harmful, benign, 1.0) == 1.0


@given(scores, scores, st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.5]))
def test_recall_at_fpr_keeps_its_promise(harmful: np.ndarray, benign: np.ndarray, rate: float) -> None:
    recall = metrics.recall_at_fpr(harmful, benign, rate)
    caught = np.sort(harmful)[::-1][: round(recall * len(harmful))]
    if len(caught):
        assert (benign >= caught.min()).mean() <= rate


def test_calibration_error_of_perfect_and_of_reversed_probabilities() -> None:
    labels = np.array([True] * 50 + [False] * 50)
    assert metrics.expected_calibration_error(labels.astype(float), labels) == 0.0
    assert metrics.expected_calibration_error(1.0 - labels, labels) == 1.0
    assert metrics.expected_calibration_error(np.full(100, 0.7), labels) == pytest.approx(0.2)


def test_kappa_weighs_by_distance() -> None:
    truth = np.array([1, 2, 3, 4, 5] * 4)
    near = np.clip(truth + 1, 1, 5)
    far = np.array([5, 4, 3, 2, 1] * 4)
    levels = [1, 2, 3, 4, 5]
    assert metrics.quadratic_weighted_kappa(truth, truth, levels) == 1.0
    assert metrics.quadratic_weighted_kappa(truth, near, levels) > 0.7
    assert metrics.quadratic_weighted_kappa(truth, far, levels) == pytest.approx(-1.0)


def test_bootstrap_is_seeded_and_brackets_the_value() -> None:
    sample = np.random.default_rng(1).random(200)
    first = metrics.bootstrap(lambda values: float(values.mean()), sample)
    assert first == metrics.bootstrap(lambda values: float(values.mean()), sample)
    assert first["low"] < first["value"] < first["high"]
    assert first["high"] - first["low"] == pytest.approx(4 * sample.std() / np.sqrt(200), rel=0.2)


@pytest.mark.parametrize(
    "compute",
    [
        lambda none: metrics.auroc(none, np.array([0.5])),
        lambda none: metrics.recall_at_fpr(np.array([0.5]), none, 0.01),
        lambda none: metrics.share_at_or_above(none, 0.5),
        lambda none: metrics.expected_calibration_error(none, none > 0),
    ],
)
def test_a_metric_of_nothing_is_an_error_not_a_zero(compute) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="undefined"):
        compute(np.array([]))


def test_reliability_tells_frequency_beside_probability() -> None:
    probabilities = np.array([0.01, 0.03, 0.5, 0.52, 0.99, 1.0])
    labels = np.array([False, False, True, False, True, True])
    bins = metrics.reliability(probabilities, labels)
    assert [item["count"] for item in bins] == [2, 2, 2]
    assert [item["frequency"] for item in bins] == [0.0, 0.5, 1.0]
    assert bins[1]["probability"] == pytest.approx(0.51)
    gap = (0.02 * 2 + 0.01 * 2 + 0.005 * 2) / 6
    assert metrics.expected_calibration_error(probabilities, labels) == pytest.approx(gap)
