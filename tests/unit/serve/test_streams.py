"""The hold-back stream by itself: every chunking of every text, with a judge that knows one word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard import Policy
from medguard.decision import skipped
from medguard.policy import OnMedia
from medguard.serve.judging import Asked
from medguard.serve.openai_api import Chat
from medguard.serve.streams import StreamGuard, Task, guarded
from medguard.verdict import Action, Outcome, Stage, Verdict
from tests.unit.serve.servers import event

WINDOW, STRIDE = 12, 5
POLICY = Policy(stream_window_chars=WINDOW, stream_stride_chars=STRIDE, refusal="No.")


class Source:
    def __init__(self, events: Sequence[dict[str, Any]]) -> None:
        self._events = events
        self.is_done = False

    async def events(self) -> AsyncGenerator[dict[str, Any] | None, None]:
        for item in self._events:
            yield item
        self.is_done = True


async def judge(tasks: Sequence[Task]) -> list[Verdict]:
    return [verdict_on(task.window.text) for task in tasks]


def verdict_on(text: str) -> Verdict:
    tripped = "bad" in text
    return Verdict(
        allowed=not tripped,
        action=Action.BLOCK if tripped else Action.ALLOW,
        outcome=Outcome.TRIPPED if tripped else Outcome.PASSED,
        stage=Stage.RESPONSE,
        score=float(tripped),
        threshold=0.5,
    )


def sent(events: Sequence[dict[str, Any]], choices: int = 1, policy: Policy = POLICY) -> list[dict[str, Any]]:
    body = {"messages": [{"role": "user", "content": "hello"}], "n": choices, "stream": True}
    call = Chat().read(body)
    asked = Asked(verdicts=(skipped(Stage.PROMPT),), texts=("hello",), forwarded=body)

    async def collect() -> list[dict[str, Any]]:
        guard = StreamGuard(Chat(), call, asked, policy)
        return [item async for item in guarded(Source(events), guard, judge) if item is not None]

    return asyncio.run(collect())


def content(events: Sequence[dict[str, Any]], index: int = 0) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for item in events
        for choice in item["choices"]
        if choice["index"] == index
    )


def first_blocked(text: str) -> int | None:
    """Start of the first window that holds the word."""
    start = 0
    while True:
        if "bad" in text[start : start + WINDOW]:
            return start
        if start + WINDOW >= len(text):
            return None
        start += STRIDE


PIECES = st.lists(st.sampled_from(["b", "a", "d", "bad", "xyz ", "a longer piece ", "é", ""]), max_size=25)


@given(PIECES, st.booleans())
def test_nothing_from_the_first_blocked_window_onward_leaves(pieces: list[str], ends_in_text: bool) -> None:
    events = [event({"content": piece}) for piece in pieces]
    if ends_in_text and events:
        events[-1]["choices"][0]["finish_reason"] = "stop"
    else:
        events.append(event({}, "stop"))
    found = sent(events)
    text = "".join(pieces)
    blocked = first_blocked(text)
    if blocked is None:
        assert content(found) == text
        assert ["medguard" in item for item in found] == [False] * (len(found) - 1) + [True]
        assert found[-1]["choices"][0]["finish_reason"] == "stop"
    else:
        shown = content(found).removesuffix("No.").removesuffix("\n\n")
        assert shown == text[: len(shown)]
        assert len(shown) <= blocked
        assert found[-1]["choices"][0]["finish_reason"] == "content_filter"
        assert found[-1]["medguard"]["allowed"] is False


@given(st.lists(st.tuples(st.integers(min_value=0, max_value=2), st.sampled_from(["b", "ad ", "fine "]))))
def test_each_choice_is_a_stream_of_its_own(pieces: list[tuple[int, str]]) -> None:
    found = sent([event({"content": piece}, index=index) for index, piece in pieces], choices=3)
    for number in range(3):
        text = "".join(piece for index, piece in pieces if index == number)
        if first_blocked(text) is None:
            assert content(found, number) == text
        else:
            assert content(found, number).endswith("No.")


def test_several_choices_in_one_event_are_told_apart() -> None:
    both = event({"content": "fine"})
    both["choices"].append({"index": 1, "delta": {"content": "bad"}, "finish_reason": None})
    found = sent([both], choices=2)
    assert content(found) == "fine"
    assert content(found, 1) == "No."


def test_a_divided_chunk_tells_no_probabilities_of_the_rest() -> None:
    whole = event({"content": "a text that is longer than a window, bad"})
    whole["choices"][0]["logprobs"] = {"content": [{"token": "bad"}]}
    found = sent([whole])
    assert content(found).startswith("a text")
    assert all(item["choices"][0]["logprobs"] is None for item in found)


def test_several_texts_in_one_chunk_leave_together() -> None:
    mixed = event({"content": "a", "reasoning_content": "b" * 30})
    assert [item["choices"][0]["delta"] for item in sent([mixed, event({}, "stop")])] == [
        mixed["choices"][0]["delta"],
        {},
    ]


def test_an_empty_reason_to_end_is_none() -> None:
    words = [event({"content": word}, "") for word in ("one ", "two ", "three")]
    found = sent([*words, event({}, "stop")])
    assert content(found) == "one two three"
    assert [item["choices"][0]["finish_reason"] for item in found if "medguard" in item] == ["stop"]
    endless = sent(words)
    assert content(endless) == "one two three"
    assert [item for item in endless if "medguard" in item] == endless[-1:]
    assert endless[-1]["choices"][0]["finish_reason"] is None


FIELDS = ("reasoning", "reasoning_content", "refusal", "content")
LINE = "plain words and no end of them "


@pytest.mark.parametrize("fields", [["reasoning"], ["reasoning_content"], ["reasoning", "reasoning_content"]])
def test_reasoning_leaves_window_by_window_and_so_does_what_follows(fields: list[str]) -> None:
    body = {"messages": [{"role": "user", "content": "hello"}], "stream": True}
    asked = Asked(verdicts=(skipped(Stage.PROMPT),), texts=("hello",), forwarded=body)
    guard = StreamGuard(Chat(), Chat().read(body), asked, POLICY)

    def left_of(delta: dict[str, str]) -> list[dict[str, Any]]:
        tasks = guard.feed(event(delta))
        verdicts = [verdict_on(task.window.text) for task in tasks]
        return [item["choices"][0]["delta"] for item in guard.settle(tasks, verdicts)]

    whole = dict.fromkeys(fields, LINE)
    thought = [*left_of(whole), *left_of(whole), *left_of(whole)]
    assert all("".join(delta.get(field, "") for delta in thought).startswith(LINE) for field in fields)
    answered = [*left_of({"content": LINE}), *left_of({"content": LINE})]
    assert "".join(delta.get("content", "") for delta in answered).startswith(LINE)
    for field in fields:
        assert "".join(delta.get(field, "") for delta in [*thought, *answered]) == LINE * 3


def shown_of(events: Sequence[dict[str, Any]], field: str) -> str:
    return "".join(item["choices"][0]["delta"].get(field) or "" for item in events)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(["b", "a", "d", "ba", "x" * 9]))))
def test_no_field_says_what_is_blocked_however_fields_take_turns(deltas: list[dict[str, str]]) -> None:
    found = sent([*map(event, deltas), event({}, "stop")])
    told = {field: "".join(delta.get(field, "") for delta in deltas) for field in FIELDS}
    if found[-1]["choices"][0]["finish_reason"] == "stop":
        assert {field: shown_of(found, field) for field in FIELDS} == told
        assert not any("bad" in text for text in told.values())
    else:
        assert content(found).endswith("No.")
        for field in FIELDS:
            shown = shown_of(found, field).removesuffix("No.").removesuffix("\n\n")
            assert told[field].startswith(shown)
            assert "bad" not in shown


def test_what_two_fields_say_alike_is_read_once() -> None:
    found = sent([event({"reasoning": part, "reasoning_content": part}) for part in ("b", "a", "d")])
    assert content(found) == "No."


def test_a_word_split_by_a_tool_call_is_read_whole() -> None:
    found = sent([event({"content": "b"}), call_of("{}"), event({"content": "ad"}), event({}, "stop")])
    assert content(found) == "No."


def test_refused_reasoning_leaves_no_gap_before_the_refusal() -> None:
    found = sent([event({"reasoning": LINE}), event({"reasoning": "bad"}), event({}, "stop")])
    assert shown_of(found, "reasoning")
    assert content(found) == "No."


def test_a_tool_call_without_a_number_is_read() -> None:
    strange = call_of('{"x": "bad"}')
    strange["choices"][0]["delta"]["tool_calls"][0]["index"] = [0]
    assert content(sent([strange, event({}, "stop")])) == "No."


def test_every_window_is_judged_once() -> None:
    seen: list[int] = []

    async def counting(tasks: Sequence[Task]) -> list[Verdict]:
        seen.extend(task.window.start for task in tasks)
        return await judge(tasks)

    body = {"messages": [{"role": "user", "content": "hello"}]}
    guard = StreamGuard(
        Chat(),
        Chat().read(body),
        Asked(verdicts=(skipped(Stage.PROMPT),), texts=("",), forwarded=body),
        POLICY,
    )

    async def drive() -> None:
        events = [event({"content": letter}) for letter in "x" * 500]
        async for _ in guarded(Source(events), guard, counting):
            pass

    asyncio.run(drive())
    assert seen == list(range(0, 491, STRIDE))


def call_of(arguments: str, index: int = 0) -> dict[str, Any]:
    call = {"index": index, "id": f"call_{index}", "type": "function", "function": {"arguments": arguments}}
    return event({"tool_calls": [call]})


def test_escapes_in_tool_calls_and_calls_side_by_side_are_read_whole() -> None:
    end = event({})
    end["choices"][0]["finish_reason"] = "tool_calls"
    escaped = sent([call_of('{"x": "b'), call_of("\\u0061"), call_of('d"}'), end])
    beside = sent([call_of('{"x": "b'), call_of('{"y": ', 1), call_of('ad"}'), call_of("1}", 1), end])
    for events in (escaped, beside):
        assert content(events) == "No."
        assert not any(choice["delta"].get("tool_calls") for item in events for choice in item["choices"])
    harmless = [call_of('{"x": "go'), call_of('od"}'), end]
    arguments = [
        call["function"]["arguments"]
        for item in sent(harmless)
        for choice in item["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    ]
    assert "".join(arguments) == '{"x": "good"}'


def test_media_in_a_stream_are_stopped_where_the_policy_blocks_them() -> None:
    events = [event({"audio": {"data": "QUJD" * 20}}), event({}, "stop")]
    assert sent(events)[0]["choices"][0]["delta"]["audio"]["data"]
    with pytest.raises(ValueError, match="media"):
        sent(events, policy=POLICY.model_copy(update={"media": OnMedia.BLOCK}))
