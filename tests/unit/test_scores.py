from __future__ import annotations

import pytest

from medguard.scores import LABELS, Scores

REQUEST = Scores(request_harm=(0.9, 0.6, 0.2), principles=(0.1,) * 9, general_harm=0.3)
ANSWER = Scores(
    request_harm=(0.9, 0.6, 0.2), principles=(0.1,) * 9, general_harm=0.3, answer_harm=(0.8, 0.6, 0.4, 0.1)
)


def test_labels_are_three_levels_ten_categories_and_four_levels() -> None:
    assert len(LABELS) == len(set(LABELS)) == 17
    assert LABELS[:3] == ("request_harm>=1", "request_harm>=2", "request_harm>=3")
    assert LABELS[3:13] == (*(f"principle_{number}" for number in range(1, 10)), "general_harm")
    assert LABELS[13:] == tuple(f"harmfulness>={level}" for level in (2, 3, 4, 5))


def test_request_is_decided_by_level_two() -> None:
    assert REQUEST.prompt_score == REQUEST.deciding_score == 0.6
    assert REQUEST.harmfulness is None
    with pytest.raises(ValueError, match="no answer was scored"):
        _ = REQUEST.response_score


def test_answer_is_decided_by_level_four() -> None:
    assert ANSWER.response_score == ANSWER.deciding_score == 0.4
    assert ANSWER.harmfulness == pytest.approx(1 + 0.8 + 0.6 + 0.4 + 0.1)
