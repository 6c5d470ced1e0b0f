from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.bundle import Calibration
from medguard.errors import MedGuardError
from medguard.scores import LABELS, calibrated, sigmoid
from training.calibration import fit_beta, threshold_at
from training.parity import measure_parity

COLUMN = LABELS.index("request_harm>=2")


def made(count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that are twice too steep, labels drawn from the true probability."""
    draw = np.random.default_rng(3)
    logits = draw.normal(0.0, 4.0, (count, len(LABELS)))
    truth = 1.0 / (1.0 + np.exp(-(0.5 * logits - 1.0)))
    targets = (draw.random(truth.shape) < truth).astype(float)
    return logits, targets, np.ones_like(targets)


@pytest.mark.parametrize(("below", "above", "offset"), [(0.5, 0.5, -1.0), (0.3, 1.5, -1.0), (1.0, 1.0, 0.0)])
def test_beta_recovers_the_true_probability(below: float, above: float, offset: float) -> None:
    logits, _, mask = made()

    def by(*slopes_and_offset: float) -> np.ndarray:
        return calibrated(logits[:, [COLUMN]], *np.array(slopes_and_offset)[:, None])[:, 0]

    truth = by(below, above, offset)
    targets = np.zeros_like(logits)
    targets[:, COLUMN] = np.random.default_rng(4).random(len(truth)) < truth
    fitted = fit_beta(logits, targets, mask)[LABELS[COLUMN]]
    found = by(fitted.below, fitted.above, fitted.offset)
    assert np.abs(found - truth).mean() < 0.02
    assert np.abs(sigmoid(logits)[:, COLUMN] - truth).mean() > 0.03 or below == above == 1.0


def test_a_logit_that_ranks_the_wrong_way_is_left_alone() -> None:
    logits, targets, mask = made()
    assert fit_beta(-logits, targets, mask)[LABELS[COLUMN]] == Calibration()


def test_a_label_with_too_few_examples_is_left_alone() -> None:
    logits, targets, mask = made(50)
    targets[:, COLUMN] = 0.0
    targets[:3, COLUMN] = 1.0
    assert fit_beta(logits, targets, mask)[LABELS[COLUMN]] == Calibration()


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=300),
    st.sampled_from([0.0, 0.01, 0.02, 0.05, 0.2]),
)
def test_a_threshold_flags_no_more_than_allowed(scores: list[float], rate: float) -> None:
    benign = np.array(scores)
    # A score of 1 trips at any threshold there is.
    assert (benign[benign < 1.0] >= threshold_at(benign, rate)).sum() <= rate * len(benign)


def test_a_threshold_lies_between_scores() -> None:
    benign = np.linspace(0.0, 0.99, 100)
    threshold = threshold_at(benign, 0.02)
    assert (benign >= threshold).sum() == 2
    assert threshold not in benign


def test_a_threshold_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        threshold_at(np.array([]), 0.02)


def test_parity_of_equal_graphs_is_zero() -> None:
    logits, targets, mask = made(200)
    result = measure_parity(logits, logits, targets, mask)
    assert result["max_probability_difference"] == 0.0
    assert result["auroc_change[request_harm>=2]"] == 0.0


def test_a_graph_that_lost_quality_is_not_released() -> None:
    logits, targets, mask = made(400)
    noisy = logits + np.random.default_rng(4).normal(0.0, 8.0, logits.shape)
    with pytest.raises(MedGuardError, match="loses 0"):
        measure_parity(logits, noisy, targets, mask)
