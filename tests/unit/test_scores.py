from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.scores import LABELS, Scores, decided_harm

REQUEST = Scores(request_harm=(0.9, 0.6, 0.2), principles=(0.1,) * 9, general_harm=0.3)
ANSWER = Scores(
    request_harm=(0.9, 0.6, 0.2), principles=(0.1,) * 9, general_harm=0.3, answer_harm=(0.8, 0.6, 0.4, 0.1)
)


def test_labels_are_three_levels_ten_categories_and_four_levels() -> None:
    assert len(LABELS) == len(set(LABELS)) == 17
    assert LABELS[:3] == ("request_harm>=1", "request_harm>=2", "request_harm>=3")
    assert LABELS[3:13] == (*(f"principle_{number}" for number in range(1, 10)), "general_harm")
    assert LABELS[13:] == tuple(f"harmfulness>={level}" for level in (2, 3, 4, 5))


@pytest.mark.parametrize(
    ("borderline", "harmful", "expected"),
    [
        (0.9, 0.6, 0.6 / 0.7),
        (0.4, 0.4, 0.4),
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 1.0),
        (1.0, 0.0, 1.0),
        (0.3, 0.5, 0.3),
        (1.0, 1.5e-16, 1.0),
    ],
)
def test_the_borderline_level_counts_for_neither_side(
    borderline: float, harmful: float, expected: float
) -> None:
    assert decided_harm(np.array(borderline), np.array(harmful)) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_decided_harm_is_a_probability_no_less_than_that_of_harm(pairs: list[tuple[float, float]]) -> None:
    borderline, harmful = np.array(pairs).T
    found = decided_harm(borderline, harmful)
    assert ((found >= np.minimum(borderline, harmful)) & (found <= 1.0)).all()


def test_request_is_decided_by_level_two_against_level_zero() -> None:
    assert REQUEST.prompt_score == REQUEST.deciding_score == pytest.approx(0.6 / 0.7)
    assert REQUEST.harmfulness is None
    with pytest.raises(ValueError, match="no answer was scored"):
        _ = REQUEST.response_score


def test_answer_is_decided_by_level_four() -> None:
    assert ANSWER.response_score == ANSWER.deciding_score == 0.4
    assert ANSWER.harmfulness == pytest.approx(1 + 0.8 + 0.6 + 0.4 + 0.1)
