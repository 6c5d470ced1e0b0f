from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from medguard.long_words import original_offsets, split_long_words

PIECES = st.sampled_from(["a", "é", "각", " ", "\n", "-", ".", "b" * 40])
TEXTS = st.lists(PIECES, max_size=60).map("".join)


@given(TEXTS)
def test_splitting_only_adds_spaces_within_long_words(text: str) -> None:
    split = split_long_words(text)
    assert split.replace(" ", "") == text.replace(" ", "")
    assert max((len(word) for word in split.replace("-", " ").replace(".", " ").split()), default=0) <= 33


@given(TEXTS)
def test_offsets_lead_back_to_the_same_characters(text: str) -> None:
    split = split_long_words(text)
    words = [index for index, char in enumerate(split) if not char.isspace()]
    found = original_offsets(text, [(index, index + 1) for index in words])
    assert [text[start:end] for start, end in found] == [split[index] for index in words]
    assert found == sorted(set(found))


def test_a_range_over_an_inserted_space_ends_where_it_ended() -> None:
    text = "x" * 70 + " y"
    split = split_long_words(text)
    assert split == "x" * 33 + " " + "x" * 33 + " " + "x" * 4 + " y"
    assert original_offsets(text, [(0, 33), (34, 67), (68, 72), (73, 74)]) == [
        (0, 33),
        (33, 66),
        (66, 70),
        (71, 72),
    ]
