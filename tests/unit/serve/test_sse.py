from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.serve.sse import DONE, EventReader, format_event


def read(data: bytes, cuts: list[int] | None = None) -> list[str | None]:
    reader = EventReader(1_000_000)
    edges = [0, *sorted(cuts or []), len(data)]
    return [item for start, end in pairwise(edges) for item in reader.feed(data[start:end])]


TEXT = 'data: {"a": "é"}\n\n: comment\n\nevent: x\ndata:two\ndata: lines\nid: 1\n\ndata: [DONE]\n\n'
EVENTS = ['{"a": "é"}', None, "two\nlines", DONE]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@given(cuts=st.lists(st.integers(min_value=0, max_value=100)))
def test_events_are_read_however_the_bytes_are_cut(line_end: str, cuts: list[int]) -> None:
    data = TEXT.replace("\n", line_end).encode()
    assert read(data, [cut for cut in cuts if cut <= len(data)]) == EVENTS


@given(st.lists(st.dictionaries(st.text(), st.text()), max_size=5))
def test_what_is_written_is_read(events: list[dict[str, str]]) -> None:
    data = b"".join(map(format_event, events)) + format_event(DONE)
    *found, last = read(data)
    assert [json.loads(item or "") for item in found] == events
    assert last == DONE


def test_rare_line_breaks_belong_to_the_data() -> None:
    assert read("data: a\u2028b\x0bc\n\n".encode()) == ["a\u2028b\x0bc"]


def test_an_event_that_does_not_end_is_not_told() -> None:
    assert read(b"data: half\n") == []


@pytest.mark.parametrize("data", [b"data: " + b"x" * 100, b"data: x\n" * 20, b"x" * 60 + b"\n" + b"x" * 60])
def test_a_long_event_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="too long"):
        list(EventReader(100).feed(data))


def test_many_short_events_are_not_one_long_one() -> None:
    assert len(list(EventReader(100).feed(b"data: x\n\n" * 100))) == 100


def test_other_encodings_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        read(b"data: \xff\n\n")
