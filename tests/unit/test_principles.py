from __future__ import annotations

import pytest

from medguard.principles import GENERAL_HARM, PRINCIPLES, category_names, principle_category


def test_there_are_nine_principles() -> None:
    assert list(PRINCIPLES) == list(range(1, 10))
    assert len(set(PRINCIPLES.values())) == 9


def test_categories_are_the_principles_and_general_harm() -> None:
    assert category_names() == (*(f"principle_{number}" for number in range(1, 10)), GENERAL_HARM)


@pytest.mark.parametrize("number", [0, 10, -1])
def test_other_numbers_are_no_principle(number: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 9"):
        principle_category(number)


def test_principles_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PRINCIPLES[1] = "none"  # type: ignore[index]
