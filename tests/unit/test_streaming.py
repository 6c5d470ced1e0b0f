"""Streams of guarded models: what leaves, when, and what happens when something goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import RunnableLambda

from medguard import Action, BlockedError, ModelError, Outcome, Stage
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import KeywordScorer
from tests.conftest import SENTINEL
from tests.unit.guards import Driver, guard_of

SHORT = {"stream_window_chars": 24, "stream_stride_chars": 12}


def words_of(text: str) -> Callable[[str], Iterator[str]]:
    def model(prompt: str) -> Iterator[str]:
        for word in text.split(" "):
            yield f"{word} "

    return model


def text_of(chunks: list[Any]) -> str:
    return "".join(chunk if isinstance(chunk, str) else chunk.text for chunk in chunks)


@settings(max_examples=60)
@given(pieces=st.lists(st.text(alphabet="arsenic wt\n", max_size=9), max_size=20), is_async=st.booleans())
def test_nothing_from_the_first_blocked_window_on_leaves_and_allowed_text_is_untouched(
    pieces: list[str], is_async: bool
) -> None:
    async def later(prompt: str) -> AsyncIterator[str]:
        for piece in pieces:
            yield piece

    guard = guard_of(later if is_async else lambda prompt: iter(pieces), **SHORT)
    chunks = Driver(is_async).stream(guard, "water")
    text, left = "".join(pieces), "".join(chunks)
    starts = range(0, max(1, len(text)), 12)
    blocked = [start for start in starts if "arsenic" in text[start : start + 24]]
    if blocked:
        assert left == text[: blocked[0]] + DEFAULT_REFUSAL
    else:
        assert left == text


class Words(KeywordScorer):
    """Knows whole words alone, as a tokenizer does."""

    def _score(self, text: str) -> float:
        return float("arsenic" in re.findall(r"\w+", text.casefold()))


@settings(max_examples=30)
@given(cut=st.integers(1, 12), lead=st.integers(0, 40), is_async=st.booleans())
@pytest.mark.parametrize("written", ["arsenic", r"ars\u0065nic", r"\u0061rs\u0065nic"])
def test_escapes_of_json_hide_no_word_wherever_they_are_cut(
    written: str, cut: int, lead: int, is_async: bool
) -> None:
    text = f'{{"steps": "{"so " * lead}\\n{written}\\nwith \\"wine\\""}}'
    chunks = [text[at : at + cut] for at in range(0, len(text), cut)]
    guard = guard_of(lambda prompt: iter(chunks), Words([]), stream_window_chars=80, stream_stride_chars=40)
    left = "".join(Driver(is_async).stream(guard, "water"))
    assert left.endswith(DEFAULT_REFUSAL)
    assert written not in left


def test_json_without_harm_comes_as_it_is(driver: Driver) -> None:
    text = r'{"steps": "boil\nthe\nwater \u0061nd\n\"drink\" it"}'
    guard = guard_of(words_of(text), Words([]), **SHORT)
    assert text_of(driver.stream(guard, "water")) == f"{text} "


def test_text_leaves_before_the_model_is_done(driver: Driver) -> None:
    seen: list[int] = []
    given_out = 0

    def model(prompt: str) -> Iterator[str]:
        nonlocal given_out
        for _ in range(50):
            given_out += 1
            yield "plain words "

    guard = guard_of(model, **SHORT)
    for _ in guard.stream("water"):
        seen.append(given_out)
    assert seen[0] <= 4
    assert len(seen) > 40


def test_a_blocked_prompt_never_reaches_the_model(driver: Driver) -> None:
    called = []

    def model(prompt: str) -> Iterator[str]:
        called.append(prompt)
        yield "x"

    (refusal,) = driver.stream(guard_of(model), "arsenic")
    assert refusal == DEFAULT_REFUSAL
    assert refusal.verdict.stage is Stage.PROMPT
    assert called == []


def test_message_chunks_add_up_with_the_verdict_on_the_last(driver: Driver) -> None:
    model = FakeListChatModel(responses=["drink plenty of water every day, and rest"])
    chunks = driver.stream(guard_of(model, **SHORT), "water")
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert whole.content == "drink plenty of water every day, and rest"
    note = whole.response_metadata["medguard"]
    assert (note["allowed"], note["stage"], len(note["verdicts"])) == (True, "response", 2)


def test_a_blocked_message_ends_with_the_refusal(driver: Driver) -> None:
    model = FakeListChatModel(responses=["first drink some water, then a spoon of arsenic, then rest"])
    chunks = driver.stream(guard_of(model, **SHORT), "water")
    assert text_of(chunks).endswith(DEFAULT_REFUSAL)
    assert "arsenic" not in text_of(chunks)
    assert "spoon" not in text_of(chunks)
    assert chunks[-1].response_metadata["medguard"]["allowed"] is False


def test_arguments_of_tool_calls_are_held_back_too(driver: Driver) -> None:
    def parts(prompt: str) -> Iterator[AIMessageChunk]:
        for number, args in enumerate(['{"sub', 'stance": "ars', 'enic"}', ""]):
            call = {"name": "order" if number == 0 else None, "args": args, "id": "1", "index": 0}
            yield AIMessageChunk("", tool_call_chunks=[call])

    guard = guard_of(parts, **SHORT)
    chunks = driver.stream(guard, "water")
    assert [chunk.text for chunk in chunks] == [DEFAULT_REFUSAL]
    assert not any(chunk.tool_call_chunks for chunk in chunks)


def test_usage_and_other_chunks_without_text_pass_in_their_place(driver: Driver) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}

    def parts(prompt: str) -> Iterator[AIMessageChunk]:
        yield AIMessageChunk("water")
        yield AIMessageChunk("", usage_metadata=usage)

    chunks = driver.stream(guard_of(parts), "water")
    assert [chunk.text for chunk in chunks] == ["water", "", ""]
    assert chunks[1].usage_metadata == usage


def openai_chunk(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def test_chunks_as_openai_sends_them(driver: Driver) -> None:
    def model(prompt: str) -> Iterator[dict[str, Any]]:
        for word in ("plain ", "water ", "and then ", "some ", "arse", "nic ", "too"):
            yield openai_chunk(word)

    chunks = driver.stream(guard_of(model, **SHORT), "water")
    left = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert left.endswith(DEFAULT_REFUSAL)
    assert "arse" not in left
    assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_model_that_does_not_stream_gives_one_chunk(driver: Driver) -> None:
    assert driver.stream(guard_of(lambda prompt: "drink water"), "water") == ["drink water"]
    assert driver.stream(guard_of(RunnableLambda(lambda _: AIMessage("water"))), "water")[0].text == "water"


def test_an_error_of_the_model_drops_what_is_held(driver: Driver) -> None:
    def model(prompt: str) -> Iterator[str]:
        yield "a word that is held back "
        raise RuntimeError(SENTINEL)

    got: list[Any] = []
    guard = guard_of(model)

    async def collect() -> None:
        async for chunk in guard.astream("water"):
            got.append(chunk)

    consume = (
        (lambda: asyncio.run(collect())) if driver.is_async else lambda: got.extend(guard.stream("water"))
    )
    with pytest.raises(ModelError, match="raised RuntimeError") as caught:
        consume()
    assert got == []
    assert SENTINEL not in str(caught.value)


class Broken(KeywordScorer):
    """Judges prompts and fails on answers."""

    def score_many(self, prompts: Any, responses: Any = None) -> Any:
        if responses is not None:
            raise RuntimeError(SENTINEL)
        return super().score_many(prompts)


def test_a_guard_that_fails_lets_nothing_through(driver: Driver) -> None:
    guard = guard_of(words_of("many plain words that would be allowed"), Broken(["arsenic"]), **SHORT)
    (refusal,) = driver.stream(guard, "water")
    assert refusal == DEFAULT_REFUSAL
    assert refusal.verdict.outcome is Outcome.FAILED
    opened = guard_of(words_of("plain words"), Broken(["arsenic"]), on_error="allow")
    assert text_of(driver.stream(opened, "water")) == "plain words "


def test_closing_the_stream_closes_the_model() -> None:
    closed = []

    def model(prompt: str) -> Iterator[str]:
        try:
            while True:
                yield "plain words "
        finally:
            closed.append("sync")

    async def later(prompt: str) -> AsyncIterator[str]:
        try:
            while True:
                yield "plain words "
        finally:
            closed.append("async")

    stream = guard_of(model, **SHORT).stream("water")
    next(stream)
    stream.close()

    async def once() -> None:
        chunks = guard_of(later, **SHORT).astream("water")
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(once())
    assert closed == ["sync", "async"]


@pytest.mark.parametrize("word", ["plain ", "arsenic "])
def test_a_model_that_cannot_be_closed_spoils_nothing(
    driver: Driver, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither where the consumer stops early nor where the guard does."""

    def model(prompt: str) -> Iterator[str]:
        try:
            while True:
                yield word
        finally:
            raise RuntimeError(SENTINEL)

    async def later(prompt: str) -> AsyncIterator[str]:
        try:
            while True:
                yield word
        finally:
            raise RuntimeError(SENTINEL)

    async def first() -> Any:
        async with contextlib.aclosing(guard_of(later, **SHORT).astream("water")) as chunks:
            return await anext(chunks)

    caplog.set_level(logging.DEBUG)
    if driver.is_async:
        found = asyncio.run(first())
    else:
        with contextlib.closing(guard_of(model, **SHORT).stream("water")) as chunks:
            found = next(chunks)
    assert found == (DEFAULT_REFUSAL if word == "arsenic " else word)
    assert "could not be closed: RuntimeError" in caplog.text
    assert SENTINEL not in caplog.text


def test_a_stage_left_out_streams_at_once(driver: Driver) -> None:
    guard = guard_of(words_of("some arsenic here"), stages={"prompt"})
    assert driver.stream(guard, "water") == ["some ", "arsenic ", "here "]


def test_shadow_changes_nothing_and_tells(driver: Driver) -> None:
    model = FakeListChatModel(responses=["some arsenic here"])
    chunks = driver.stream(guard_of(model, action="shadow", **SHORT), "water")
    assert text_of(chunks) == "some arsenic here"
    note = chunks[-1].response_metadata["medguard"]
    assert (note["action"], note["outcome"], note["allowed"]) == ("shadow", "tripped", True)


def test_redaction_takes_out_the_window_and_goes_on(driver: Driver) -> None:
    text = "drink water and rest well. then arsenic. " + "then walk a little each day. " * 4
    guard = guard_of(words_of(text), action="redact", **SHORT)
    left = text_of(driver.stream(guard, "water"))
    assert "arsenic" not in left
    assert "[removed]" in left
    assert left.rstrip().endswith("each day.")


def test_redaction_of_a_whole_answer(driver: Driver) -> None:
    text = "drink water and rest well. then arsenic. " + "then walk a little each day. " * 4
    answer = driver.invoke(guard_of(lambda prompt: text, action="redact", **SHORT), "water")
    assert "arsenic" not in answer
    assert "[removed]" in answer
    assert answer.endswith("each day. ")
    assert answer.verdict.action is Action.REDACT
    message = driver.invoke(
        guard_of(RunnableLambda(lambda _: AIMessage(text)), action="redact", **SHORT), "water"
    )
    assert message.content == str(answer)
    with pytest.raises(BlockedError):
        driver.invoke(
            guard_of(RunnableLambda(lambda _: {"text": "some arsenic"}), action="redact", **SHORT), "water"
        )


def test_a_consumer_that_stops_early_is_no_error(driver: Driver) -> None:
    guard = guard_of(words_of("plain words " * 50), **SHORT)
    stream = guard.stream("water")
    with contextlib.closing(stream):
        assert next(stream)
