from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.scores import LABELS
from training.targets import answer_targets, request_targets


def known(targets: tuple[tuple[float, ...], tuple[float, ...]]) -> dict[str, float]:
    values, mask = targets
    return {label: value for label, value, is_known in zip(LABELS, values, mask, strict=True) if is_known}


def test_borderline_is_neither_class() -> None:
    labels = known(request_targets(1, violates=(4,), general=False))
    assert [labels[f"request_harm>={rank}"] for rank in (1, 2, 3)] == [1.0, 0.0, 0.0]
    assert [labels[f"principle_{number}"] for number in (4, 5)] == [1.0, 0.0]
    assert labels["general_harm"] == 0.0


def test_judges_who_differ_give_a_soft_target() -> None:
    labels = known(request_targets(1.5, violates=None, general=True))
    assert [labels[f"request_harm>={rank}"] for rank in (1, 2, 3)] == [1.0, 0.5, 0.0]
    assert "principle_1" not in labels
    assert labels["general_harm"] == 1.0


def test_general_harm_does_not_say_how_severe() -> None:
    labels = known(request_targets(2, violates=None, general=True, severe_known=False))
    assert labels["request_harm>=2"] == 1.0
    assert "request_harm>=3" not in labels


def test_an_answer_says_nothing_of_the_request_heads() -> None:
    labels = known(answer_targets(4, violates=(8,)))
    assert [labels[f"harmfulness>={rank}"] for rank in (2, 3, 4, 5)] == [1.0, 1.0, 1.0, 0.0]
    assert labels["principle_8"] == 1.0
    assert not any(label.startswith("request_harm") for label in labels)


def test_a_careful_answer_violates_nothing() -> None:
    labels = known(answer_targets(2, violates=(8,)))
    assert labels["principle_8"] == 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda level: request_targets(level, violates=(), general=False),
        lambda level: answer_targets(level + 1, violates=()),
    ],
)
@given(level=st.floats(0, 3))
def test_targets_are_probabilities_that_never_increase_with_rank(make, level: float) -> None:  # type: ignore[no-untyped-def]
    labels = known(make(level))
    ranks = [value for label, value in labels.items() if ">=" in label]
    assert ranks == sorted(ranks, reverse=True)
    assert all(0.0 <= value <= 1.0 for value in labels.values())
