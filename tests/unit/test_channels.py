"""Which chunks of a stream read on, and what is kept of each channel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.channels import Channels

KEPT = 6


@pytest.mark.parametrize(
    ("chunks", "taken"),
    [
        ([{"text": "a"}, {"text": "b"}, {}], [True, True, True]),
        ([{"reasoning": "a"}, {"text": "b"}, {"text": "c"}], [True, True, True]),
        ([{"text": "a"}, {"reasoning": "b"}, {"text": "c"}], [True, True, False]),
        ([{"text": "a"}, {"reasoning": "b"}, {"reasoning": "c"}], [True, True, True]),
        ([{"reasoning": "a", "text": "b"}, {"text": "c"}], [True, True]),
        ([{"reasoning": "a", "text": "b"}, {"reasoning": "c"}], [True, False]),
        ([{"reasoning": "a", "thought": "a"}, {"reasoning": "b", "thought": "b"}], [True, True]),
        ([{"reasoning": "a", "thought": "a"}, {"reasoning": "b"}], [True, False]),
        ([{"reasoning": "a", "thought": "a"}, {"reasoning": "b", "thought": "c"}], [True, False]),
    ],
)
def test_a_channel_does_not_read_on_where_another_came_between(
    chunks: list[dict[str, str]], taken: list[bool]
) -> None:
    channels: Channels[int] = Channels(KEPT)
    assert [channels.take_in(number, said) for number, said in enumerate(chunks)] == taken


@given(st.lists(st.text(alphabet="abc", min_size=1, max_size=9), max_size=20))
def test_the_last_words_are_kept_and_little_more(texts: list[str]) -> None:
    channels: Channels[str] = Channels(KEPT)
    for number, text in enumerate(texts):
        assert channels.take_in(f"{number}{text}", {"text": text})
    kept = "".join(chunk.lstrip("0123456789") for chunk in channels.last())
    whole = "".join(texts)
    assert whole.endswith(kept)
    assert len(kept) >= min(KEPT, len(whole))
    assert len(kept) < KEPT + 9


def test_the_last_words_of_all_channels_come_in_order() -> None:
    channels: Channels[str] = Channels(KEPT)
    for chunk, said in (("r1", {"reasoning": "x" * 9}), ("r2", {"reasoning": "y" * 9}), ("t", {"text": "z"})):
        channels.take_in(chunk, said)
    assert channels.last() == ["r2", "t"]


def test_what_is_forgotten_has_been_said() -> None:
    channels: Channels[str] = Channels(KEPT)
    channels.take_in("t", {"text": "z"})
    channels.forget(["text", "another"])
    assert channels.last() == []
    assert channels.take_in("r", {"reasoning": "x"})
    assert not channels.take_in("t", {"text": "z"})
