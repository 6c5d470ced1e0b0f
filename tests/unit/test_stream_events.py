"""Events of a run, as ``astream_events`` gives them: what is held back does not get out that way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda

from medguard.policy import DEFAULT_REFUSAL
from tests.unit.guards import guard_of

SHORT = {"stream_window_chars": 24, "stream_stride_chars": 12}


def chat() -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage("first water then arsenic for all of them")]))


async def later(prompt: str) -> Any:
    return await chat().ainvoke(prompt)


async def later_in_chunks(prompt: str) -> AsyncIterator[Any]:
    async for chunk in chat().astream(prompt):
        yield chunk


def events_of(runnable: Any) -> list[Any]:
    async def collect() -> list[Any]:
        return [event async for event in runnable.astream_events("water", version="v2")]

    return asyncio.run(collect())


class Careless(Runnable[Any, Any]):
    """Calls a model without the configuration that it was given."""

    def invoke(self, input: Any, config: Any = None, **options: Any) -> Any:  # noqa: A002
        return chat().invoke(input)

    async def ainvoke(self, input: Any, config: Any = None, **options: Any) -> Any:  # noqa: A002
        return await chat().ainvoke(input)


class CarelessStream(Careless):
    def stream(self, input: Any, config: Any = None, **options: Any) -> Any:  # noqa: A002
        return chat().stream(input)

    def astream(self, input: Any, config: Any = None, **options: Any) -> Any:  # noqa: A002
        return chat().astream(input)


MODELS = {
    "careless": Careless(),
    "careless_stream": CarelessStream(),
    "sync": lambda prompt: chat().invoke(prompt),
    "async": later,
    "runnable": RunnableLambda(lambda prompt: chat().invoke(prompt)),
    "sync_stream": lambda prompt: chat().stream(prompt),
    "async_stream": later_in_chunks,
}


@pytest.mark.parametrize("kind", MODELS)
def test_events_of_a_model_inside_a_streamed_function_do_not_leak(kind: str) -> None:
    events = events_of(guard_of(MODELS[kind], **SHORT))
    assert any(event["event"] == "on_chain_stream" for event in events)
    assert "arsenic" not in repr([event["data"] for event in events])
    assert not any(event["event"].startswith("on_chat_model") for event in events)


@pytest.mark.parametrize("kind", ["sync", "async", "runnable", "careless"])
@pytest.mark.parametrize("is_batch", [False, True])
def test_events_of_a_model_inside_a_called_function_do_not_leak(kind: str, is_batch: bool) -> None:
    async def call(prompt: str) -> Any:
        guard = guard_of(MODELS[kind])
        return (await guard.abatch([prompt]))[0] if is_batch else await guard.ainvoke(prompt)

    events = events_of(RunnableLambda(call))
    assert DEFAULT_REFUSAL in repr(events[-1]["data"])
    assert "arsenic" not in repr([event["data"] for event in events])


def test_events_of_the_model_itself_do_not_leak() -> None:
    events = events_of(guard_of(chat(), **SHORT) | StrOutputParser())
    streamed = [event for event in events if event["event"].endswith("_stream")]
    assert streamed
    assert "arsenic" not in repr(streamed)
    assert DEFAULT_REFUSAL in "".join(
        event["data"]["chunk"] for event in streamed if isinstance(event["data"]["chunk"], str)
    )
    assert not any(event["event"].startswith("on_chat_model") for event in events)
