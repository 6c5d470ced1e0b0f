"""Chunks of every kind in guarded streams: no kind carries text past the guard, none is spoilt by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import reduce
from itertools import repeat
from operator import add
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import (
    FakeListChatModel,
    FakeMessagesListChatModel,
    GenericFakeChatModel,
)
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.output_parsers import JsonOutputParser
from langchain_core.runnables import RunnableGenerator, RunnableLambda, RunnableParallel
from openai.types.chat import ChatCompletionChunk

from medguard import Action, BlockedError
from medguard.adapters.pipelines import PipelineAdapter
from medguard.policy import DEFAULT_REFUSAL
from tests.unit.guards import Driver, guard_of

SHORT = {"stream_window_chars": 24, "stream_stride_chars": 12, "stream_context_chars": 0}


def streaming(*chunks: Any) -> Callable[[str], Iterator[Any]]:
    return lambda prompt: iter(chunks)


def openai_chunk(delta: dict[str, Any], index: int = 0, **choice: Any) -> dict[str, Any]:
    found = {"index": index, "delta": delta, "finish_reason": None, **choice}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "m",
        "choices": [found],
    }


def tool_call(args: str, index: int = 0) -> AIMessageChunk:
    call = {"name": "order", "args": args, "id": str(index), "index": index}
    return AIMessageChunk("", tool_call_chunks=[call])


FLOWING: dict[str, tuple[Callable[[str], Any], Callable[[Any], str]]] = {
    "message": (AIMessageChunk, lambda chunk: chunk.content),
    "block": (
        lambda text: AIMessageChunk([{"type": "text", "text": text, "index": "lc_txt_0", "id": "msg_1"}]),
        lambda chunk: chunk.text,
    ),
    "thinking": (
        lambda text: AIMessageChunk([{"type": "thinking", "thinking": text, "index": 0}]),
        lambda chunk: chunk.content if isinstance(chunk.content, str) else chunk.content[0]["thinking"],
    ),
    "summary": (
        lambda text: AIMessageChunk(
            [{"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": text}]}]
        ),
        lambda chunk: (
            chunk.content if isinstance(chunk.content, str) else chunk.content[0]["summary"][0]["text"]
        ),
    ),
    "reasoning_content": (
        lambda text: AIMessageChunk("", additional_kwargs={"reasoning_content": text}),
        lambda chunk: chunk.additional_kwargs.get("reasoning_content", chunk.content),
    ),
    "openai": (
        lambda text: openai_chunk({"content": text}),
        lambda chunk: chunk["choices"][0]["delta"]["content"],
    ),
    "openai_object": (
        lambda text: ChatCompletionChunk(**openai_chunk({"content": text})),
        lambda chunk: chunk.choices[0].delta.content,
    ),
    "openai_reasoning": (
        lambda text: openai_chunk({"reasoning_content": text}),
        lambda chunk: "".join(chunk["choices"][0]["delta"].values()),
    ),
}


@pytest.mark.parametrize("kind", FLOWING)
@settings(max_examples=40)
@given(
    pieces=st.lists(st.text(alphabet="arsenic wt", min_size=1, max_size=9), min_size=1, max_size=20),
    at=st.integers(0, 20),
    is_async=st.booleans(),
    has_harm=st.booleans(),
)
def test_nothing_from_the_first_blocked_window_on_leaves(
    kind: str, pieces: list[str], at: int, is_async: bool, has_harm: bool
) -> None:
    make, show = FLOWING[kind]
    if has_harm:
        pieces = [*pieces[:at], "arse", "nic", *pieces[at:]]
    guard = guard_of(streaming(*map(make, pieces)), **SHORT)
    text = "".join(pieces)
    blocked = [start for start in range(0, len(text), 12) if "arsenic" in text[start : start + 24]]
    try:
        left = "".join(map(show, Driver(is_async).stream(guard, "water")))
    except BlockedError:
        assert kind == "openai_object"
        assert blocked
        return
    if blocked:
        assert left.endswith(DEFAULT_REFUSAL)
        assert text[: blocked[0]].startswith(left.removesuffix(DEFAULT_REFUSAL))
    else:
        assert left == text


WAITING = {
    "tool_call": [tool_call('{"x": "ars'), tool_call('enic"}')],
    "escaped_tool_call": [tool_call('{"x": "ars'), tool_call('\\u0065nic"}')],
    "tool_call_with_equal_keys": [tool_call('{"x": "ars\\u0065nic", "x": "water"}')],
    "parallel_tool_calls": [
        tool_call("ars"),
        tool_call("wat", index=1),
        tool_call("enic"),
        tool_call("er", index=1),
    ],
    "older_tool_calls": [
        AIMessageChunk("", additional_kwargs={"function_call": {"arguments": text}})
        for text in ("ars", "enic")
    ],
    "text_before_a_block_of_another_kind": [
        AIMessageChunk([{"type": "text", "text": "ars", "index": 0}]),
        AIMessageChunk([{"type": "non_standard", "value": {"a": "b"}, "index": 1}]),
        AIMessageChunk([{"type": "text", "text": "enic", "index": 0}]),
    ],
    "openai_tool_calls": [
        openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": text}}]})
        for text in ('{"x": "ars', '\\u0065nic"}')
    ],
    "openai_channels_that_take_turns": [
        openai_chunk({"content": "ars"}),
        openai_chunk({"reasoning": "a word to itself"}),
        openai_chunk({"content": "enic"}),
    ],
    "message_channels_that_take_turns": [
        AIMessageChunk("ars"),
        AIMessageChunk("", additional_kwargs={"reasoning_content": "a word to itself"}),
        AIMessageChunk("enic"),
    ],
    "reasoning_around_content": [
        AIMessageChunk("", additional_kwargs={"reasoning_content": "ars"}),
        AIMessageChunk("water"),
        AIMessageChunk("", additional_kwargs={"reasoning_content": "enic"}),
    ],
    "blocks_that_take_turns": [
        AIMessageChunk([{"type": "text", "text": "ars", "index": 0}]),
        AIMessageChunk([{"type": "thinking", "thinking": "a word to itself", "index": 1}]),
        AIMessageChunk([{"type": "text", "text": "enic", "index": 2}]),
    ],
    "blocks_that_go_on_after_others": [
        AIMessageChunk([{"type": kind, kind: text, "index": index}])
        for kind, text, index in (
            ("text", "ars", 1),
            ("thinking", "a word to itself", 0),
            ("text", "enic", 2),
            ("text", "water", 1),
        )
    ],
    "several_channels_in_each_chunk": [
        openai_chunk({"reasoning": "wat", "content": "ars"}),
        openai_chunk({"reasoning": "er", "content": "enic"}),
    ],
    "openai_choices": [
        openai_chunk({"content": text}, index)
        for text, index in (("ars", 0), ("wat", 1), ("enic", 0), ("er", 1))
    ],
}


@pytest.mark.parametrize("kind", WAITING)
def test_what_can_only_be_read_as_a_whole_waits_for_the_end(driver: Driver, kind: str) -> None:
    chunks = driver.stream(guard_of(streaming(*WAITING[kind]), **SHORT), "water")
    assert len(chunks) == 1
    assert DEFAULT_REFUSAL in repr(chunks[0])
    assert not any(word in repr(chunks).lower() for word in ("'ars", '"ars', "enic"))


LONG = "plain words about how to go on " * 4


@pytest.mark.parametrize(
    "said",
    [
        [{"content": "ars"}, {"reasoning": LONG}, {"content": "enic"}],
        [{"reasoning": "ars"}, {"content": LONG}, {"reasoning": "enic"}],
        [{"content": "ars"}, {"reasoning": LONG}, {"tool_calls": [{"index": 0}], "content": "enic"}],
    ],
)
def test_a_channel_is_read_on_from_what_left_long_ago(driver: Driver, said: list[dict[str, Any]]) -> None:
    chunks = driver.stream(guard_of(streaming(*map(openai_chunk, said)), **SHORT), "water")
    assert len(chunks) > 1
    assert "ars" in repr(chunks[0])
    assert DEFAULT_REFUSAL in repr(chunks[-1])
    assert "enic" not in repr(chunks)


def test_harmless_channels_come_as_they_are_whatever_their_turns(driver: Driver) -> None:
    said = [{"reasoning": LONG}, {"content": LONG}, {"reasoning": "water"}, {"content": "wine"}]
    chunks = driver.stream(guard_of(streaming(*map(openai_chunk, said)), **SHORT), "water")
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("reasoning", "") for delta in deltas) == f"{LONG}water"
    assert "".join(delta.get("content", "") for delta in deltas) == f"{LONG}wine"
    assert deltas[-2:] == said[-2:]


def test_what_two_fields_say_alike_is_read_once(driver: Driver) -> None:
    pieces = ["think of ", "plain water"]
    both = [openai_chunk({"reasoning": piece, "reasoning_content": piece}) for piece in pieces]
    guard = guard_of(streaming(*both))
    assert len(driver.stream(guard, "water")) == 2
    assert guard.classifier.calls[-1] == (["water"], ["think of plain water"])
    waiting = guard_of(streaming(*both, openai_chunk({"tool_calls": [{"function": {"name": "order"}}]})))
    assert len(driver.stream(waiting, "water")) == 3
    (text,) = waiting.classifier.calls[1][1]
    assert text.count("think of plain water") == 1


@pytest.mark.parametrize("after", [tool_call('{"x": "water"}'), AIMessageChunk("and water")])
def test_nothing_goes_on_from_what_was_redacted(driver: Driver, after: AIMessageChunk) -> None:
    thought = AIMessageChunk("", additional_kwargs={"reasoning_content": LONG})
    text = "take arsenic, then rest. " + "then walk a little each day. " * 2
    guard = guard_of(streaming(AIMessageChunk(text), thought, after), action="redact", **SHORT)
    whole = reduce(add, driver.stream(guard, "water"))
    assert whole.content.startswith("[removed]")
    assert "arsenic" not in repr(whole)
    assert DEFAULT_REFUSAL not in whole.content
    assert whole.content.endswith(after.content) or whole.tool_calls


def test_a_lone_tool_call_is_refused_with_a_chunk(driver: Driver) -> None:
    (chunk,) = driver.stream(guard_of(streaming(tool_call('{"x": "arsenic"}'))), "water")
    assert type(chunk) is AIMessageChunk
    assert chunk.content == DEFAULT_REFUSAL


def test_a_harmless_tool_call_comes_whole(driver: Driver) -> None:
    given_out = [AIMessageChunk("I order it."), tool_call('{"x": "wat'), tool_call('er"}')]
    chunks = driver.stream(guard_of(streaming(*given_out)), "water")
    whole = chunks[0] + chunks[1:]
    assert whole.content == "I order it."
    assert [call["args"] for call in whole.tool_calls] == [{"x": "water"}]
    assert whole.response_metadata["medguard"]["allowed"]


def test_redaction_does_not_mend_tool_calls(driver: Driver) -> None:
    chunks = driver.stream(guard_of(streaming(*WAITING["tool_call"]), action="redact"), "water")
    assert [chunk.text for chunk in chunks] == [DEFAULT_REFUSAL]


def test_parallel_branches_are_read_apart(driver: Driver) -> None:
    def branch(*parts: str) -> RunnableGenerator[Any, Any]:
        def transform(given: Iterator[Any]) -> Iterator[str]:
            yield from parts

        async def atransform(given: AsyncIterator[Any]) -> AsyncIterator[str]:
            for part in parts:
                yield part

        return RunnableGenerator(transform, atransform)

    both = RunnableParallel(one=branch("ars", "enic"), two=branch("wat", "er"))
    with pytest.raises(BlockedError):
        driver.stream(guard_of(both), "water")
    chunks = driver.stream(guard_of(RunnableParallel(one=branch("wat", "er"))), "water")
    assert "".join(chunk["one"] for chunk in chunks) == "water"


def test_json_that_grows_is_judged_once_it_is_grown(driver: Driver) -> None:
    parsed = FakeListChatModel(responses=['{"drink": "plain water", "then": "rest"}']) | JsonOutputParser()
    chunks = driver.stream(guard_of(parsed), "water")
    assert chunks[-1] == {"drink": "plain water", "then": "rest"}
    harmful = FakeListChatModel(responses=['{"drink": "arsenic"}']) | JsonOutputParser()
    with pytest.raises(BlockedError):
        driver.stream(guard_of(harmful), "water")


TEXT = "plain water for all of us, and some more arsenic"
LOGPROBS = {"logprobs": {"content": [{"token": "arsenic"}]}}


@pytest.mark.parametrize(
    "chunk",
    [openai_chunk({"content": TEXT}, **LOGPROBS), AIMessageChunk(TEXT, response_metadata=LOGPROBS)],
    ids=["openai", "message"],
)
@pytest.mark.parametrize("action", ["block", "redact"])
def test_probabilities_of_tokens_do_not_tell_what_is_held(driver: Driver, chunk: Any, action: str) -> None:
    chunks = driver.stream(guard_of(streaming(chunk), action=action, **SHORT), "water")
    assert chunks
    assert "arsenic" not in repr(chunks)


def test_probabilities_do_not_tell_what_was_redacted(driver: Driver) -> None:
    model = RunnableLambda(lambda _: AIMessage(TEXT, response_metadata=LOGPROBS))
    answer = driver.invoke(guard_of(model, action="redact", **SHORT), "water")
    assert answer.content.startswith("plain water")
    assert "arsenic" not in repr(answer)


def test_usage_is_not_multiplied_by_windows(driver: Driver) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    chunk = AIMessageChunk(
        "plain water " * 20, usage_metadata=usage, response_metadata={"finish_reason": "stop"}
    )
    chunks = driver.stream(guard_of(streaming(chunk), **SHORT), "water")
    whole = chunks[0] + chunks[1:]
    assert (whole.content, whole.usage_metadata) == (chunk.content, usage)
    assert whole.response_metadata["finish_reason"] == "stop"


def note_of(chunk: Any) -> Any:
    return chunk.response_metadata["medguard"]


@pytest.mark.parametrize(
    ("model", "read"),
    [
        (lambda prompt: "water", lambda chunk: chunk.verdict.to_dict()),
        (streaming("wa", "ter"), lambda chunk: chunk.verdict.to_dict()),
        (FakeMessagesListChatModel(responses=[AIMessage("water")]), note_of),
        (FakeListChatModel(responses=["water"]), note_of),
        (PipelineAdapter(lambda text: [{"generated_text": f"{text} too"}]), lambda item: item[0]["medguard"]),
        (streaming(openai_chunk({"content": "water"})), lambda chunk: chunk["medguard"]),
    ],
    ids=["str", "streamed_str", "message", "chunks", "pipeline", "openai"],
)
@pytest.mark.parametrize("stages", [["prompt", "response"], ["response"]])
def test_the_last_chunk_tells_the_verdict(driver: Driver, model: Any, read: Any, stages: list[str]) -> None:
    chunks = driver.stream(guard_of(model, stages=stages), "water")
    assert read(chunks[-1])["stage"] == "response"
    assert read(chunks[-1])["outcome"] == "passed"


@pytest.mark.parametrize("stages", [["prompt", "response"], ["prompt"]])
@pytest.mark.parametrize("kind", ["runnable", "function", "async function"])
def test_a_guard_within_a_guard_adds_up_to_one_answer(driver: Driver, kind: str, stages: list[str]) -> None:
    inner = guard_of(GenericFakeChatModel(messages=repeat(AIMessage("hello my dear friend"))))

    async def stream_later(prompt: Any) -> AsyncIterator[Any]:
        async for chunk in inner.astream(prompt):
            yield chunk

    if kind == "async function" and not driver.is_async:
        pytest.skip("needs a loop")
    models = {"runnable": inner, "function": inner.stream, "async function": stream_later}
    outer = guard_of(models[kind], stages=stages)
    answer = reduce(add, driver.stream(outer, "hi"))
    assert answer.content == "hello my dear friend"
    judged = [note["outcome"] for note in answer.response_metadata["medguard"]["verdicts"]]
    assert judged == ["passed", "passed" if "response" in stages else "skipped"]
    told = driver.stream(outer | RunnableLambda(lambda message: message.content), "hi")
    assert told == ["hello my dear friend"]


def test_whole_answers_are_checked_as_a_call_checks_them(driver: Driver) -> None:
    text = "drink water and rest well. then arsenic. " + "then walk a little each day. " * 4
    for model in (lambda prompt: text, RunnableLambda(lambda _: AIMessage(text))):
        guard = guard_of(model, action="redact", **SHORT)
        (chunk,) = driver.stream(guard, "water")
        answer = driver.invoke(guard, "water")
        assert getattr(chunk, "content", chunk) == getattr(answer, "content", answer)
        assert "[removed]" in repr(chunk)
    shadow = guard_of(lambda prompt: "arsenic", action=Action.SHADOW)
    assert driver.stream(shadow, "water") == ["arsenic"]


@pytest.mark.parametrize("words", [100, 200, 400])
def test_work_grows_with_the_length_of_the_stream(driver: Driver, words: int) -> None:
    guard = guard_of(lambda prompt: iter(["plain words "] * words), **SHORT)
    driver.stream(guard, "water")
    judged = sum(len(text) for _, responses in guard.classifier.calls for text in responses or ())
    assert judged <= 2 * len("plain words ") * words
