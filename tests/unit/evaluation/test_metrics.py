from __future__ import annotations

import math

import hypothesis
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


# Scores of few kinds, so that ties between both sides occur.
tied = arrays(np.float64, st.integers(1, 40), elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]))


@hypothesis.settings(max_examples=15)
@given(tied, tied)
def test_ranking_at_once_is_what_each_metric_says(harmful: np.ndarray, benign: np.ndarray) -> None:
    rates = (0.0, 0.05, 0.5, 1.0)
    found = metrics.bootstrap_ranking(harmful, benign, rates)
    assert found.auroc["value"] == pytest.approx(metrics.auroc(harmful, benign))
    assert found.average_precision["value"] == pytest.approx(metrics.average_precision(harmful, benign))
    for rate in rates:
        assert found.recall_at_fpr[rate]["value"] == pytest.approx(
            metrics.recall_at_fpr(harmful, benign, rate)
        )


def test_ranking_intervals_are_those_of_the_plain_bootstrap() -> None:
    draw = np.random.default_rng(5)
    harmful, benign = draw.normal(1.0, 1.0, 150), draw.normal(0.0, 1.0, 200)
    found = metrics.bootstrap_ranking(harmful, benign, [0.05])
    # The same seed draws the same resamples.
    assert found.auroc == pytest.approx(metrics.bootstrap(metrics.auroc, harmful, benign))
    plain = metrics.bootstrap(lambda bad, good: metrics.recall_at_fpr(bad, good, 0.05), harmful, benign)
    assert found.recall_at_fpr[0.05] == pytest.approx(plain)


def test_bootstrap_of_a_mean_matches_the_plain_bootstrap() -> None:
    levels = np.random.default_rng(2).integers(1, 6, 400)
    quick, plain = metrics.bootstrap_mean(levels), metrics.bootstrap(lambda v: float(v.mean()), levels)
    assert quick["value"] == pytest.approx(plain["value"])
    assert quick["low"] == pytest.approx(plain["low"], abs=0.03)
    assert quick["high"] == pytest.approx(plain["high"], abs=0.03)


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Two of them by hand: of n flags all alike, 1 - 0.025 ** (1 / n) stays open.
    [(0, 68, 0.0, 0.0528), (68, 68, 0.9472, 1.0), (8, 40, 0.0905, 0.3565)],
)
def test_interval_of_a_share_is_exact_and_has_a_width_at_both_ends(
    count: int, total: int, low: float, high: float
) -> None:
    hits = np.arange(total) < count
    found = metrics.proportion(hits)
    assert found["value"] == count / total
    assert found["low"] == pytest.approx(low, abs=1e-4)
    assert found["high"] == pytest.approx(high, abs=1e-4)


def test_bootstrap_of_a_mean_of_many_kinds() -> None:
    values = np.random.default_rng(2).random(500)
    assert metrics.bootstrap_mean(values) == metrics.bootstrap(lambda v: float(v.mean()), values)


@pytest.mark.parametrize("percentile", [50.0, 95.0, 99.0, 100.0])
def test_bootstrap_of_a_percentile_matches_the_plain_bootstrap(percentile: float) -> None:
    values = np.random.default_rng(4).exponential(size=800)
    quick = metrics.bootstrap_percentile(values, percentile)
    plain = metrics.bootstrap(
        lambda drawn: float(np.percentile(drawn, percentile, method="inverted_cdf")), values
    )
    assert quick["value"] == plain["value"]
    assert quick["low"] == pytest.approx(plain["low"], rel=0.05)
    assert quick["high"] == pytest.approx(plain["high"], rel=0.05)


def test_bootstrap_of_calibration_matches_the_plain_bootstrap() -> None:
    draw = np.random.default_rng(6)
    probabilities = draw.random(300)
    labels = draw.random(300) < probabilities**2
    plain = metrics.bootstrap(
        lambda pairs: metrics.expected_calibration_error(pairs[:, 0], pairs[:, 1] > 0),
        np.column_stack([probabilities, labels]),
    )
    assert metrics.bootstrap_calibration_error(probabilities, labels) == pytest.approx(plain)


def test_standard_error() -> None:
    assert metrics.standard_error(np.array([1, 3])) == pytest.approx(1.0)
    assert metrics.standard_error(np.array([1])) is None


def test_sign_flip_test_agrees_with_the_exact_binomial() -> None:
    # McNemar's exact test: 12 of 15 that differ go one way.
    differences = np.array([1] * 12 + [-1] * 3 + [0] * 50)
    exact = 2 * sum(math.comb(15, k) for k in range(4)) / 2**15
    assert metrics.sign_flip_test(differences) == pytest.approx(exact, abs=0.01)
    assert metrics.sign_flip_test(-differences) == metrics.sign_flip_test(differences)
    assert metrics.sign_flip_test(np.zeros(30, dtype=np.int64)) == 1.0
    assert metrics.sign_flip_test(np.full(60, 4)) == pytest.approx(0.0001)


def test_sign_flip_test_keeps_its_level() -> None:
    draw = np.random.default_rng(3)
    p_values = [metrics.sign_flip_test(draw.integers(-4, 5, 40)) for _ in range(200)]
    assert np.mean(np.array(p_values) <= 0.05) < 0.1


def test_holm_is_step_down_and_monotone() -> None:
    assert metrics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert metrics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert metrics.holm([]) == []


def test_what_is_undefined_of_nothing() -> None:
    none = np.array([])
    for compute in (metrics.bootstrap_mean, metrics.proportion, metrics.sign_flip_test):
        with pytest.raises(DataError, match="undefined"):
            compute(none)
    with pytest.raises(DataError, match="undefined"):
        metrics.bootstrap_ranking(none, np.array([0.5]), [0.05])
