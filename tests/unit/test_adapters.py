from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import typing
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from medguard import BlockedError, GuardedStr, InvalidInputError, MedGuard, ModelError
from medguard.adapters import adapt
from medguard.adapters.callables import CallableAdapter, attach_verdicts, refusal_like
from medguard.adapters.pipelines import PipelineAdapter, is_pipeline
from medguard.adapters.runnables import RunnableAdapter
from medguard.decision import skipped
from medguard.testing import KeywordScorer
from medguard.verdict import Stage

VERDICT = skipped(Stage.PROMPT)
CHAT = FakeListChatModel(responses=["hi"])


async def asynchronous(prompt: str) -> str:
    return prompt.upper()


class Model:
    async def __call__(self, prompt: str) -> str:
        return prompt


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (len, CallableAdapter),
        (asynchronous, CallableAdapter),
        (CHAT, RunnableAdapter),
        (CHAT | StrOutputParser(), RunnableAdapter),
        (RunnableLambda(len), RunnableAdapter),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_each_kind_of_model_has_its_adapter(model: Any, kind: type) -> None:
    assert type(adapt(model)) is kind
    assert adapt(adapter := kind(model)) is adapter


@pytest.mark.parametrize("model", [None, 3, "model", []], ids=str)
def test_what_cannot_be_called_cannot_be_guarded(model: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"found {type(model).__name__}"):
        adapt(model)


def test_guarded_str_is_a_str_that_survives_copies() -> None:
    text = GuardedStr("hello", [VERDICT])
    copies = [pickle.loads(pickle.dumps(text, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]  # noqa: S301
    for twin in (*copies, copy.copy(text), copy.deepcopy(text)):
        assert type(twin) is GuardedStr
        assert (twin, twin.verdict, twin.verdicts) == ("hello", VERDICT, (VERDICT,))
    assert text == "hello"
    assert type(text.upper()) is str


def test_async_functions_are_recognised() -> None:
    assert adapt(asynchronous).is_async
    assert adapt(Model()).is_async
    assert adapt(functools.partial(asynchronous)).is_async
    assert not adapt(len).is_async


def test_what_a_function_raises_stays_with_its_input() -> None:
    def picky(prompt: str) -> str:
        if prompt == "b":
            raise StopIteration(prompt)
        return prompt

    one, two, three = adapt(picky).call(["a", "b", "c"], [{}] * 3, {})
    assert (one, three) == ("a", "c")
    assert isinstance(two, ModelError)
    assert isinstance(two.__cause__, StopIteration)


def test_sync_function_that_returns_an_awaitable() -> None:
    adapter = adapt(lambda prompt: asynchronous(prompt))
    (answer,) = adapter.call(["a"], [{}], {})
    assert isinstance(answer, ModelError)
    assert "use ainvoke" in str(answer)
    assert asyncio.run(adapter.acall(["a", "b"], [{}] * 2, {})) == ["A", "B"]


def test_refusals_copy_the_type_of_the_answer() -> None:
    assert refusal_like("answer", "no", [VERDICT]) == "no"
    message = refusal_like(AIMessage("answer", id="7", name="bot"), "no", [VERDICT])
    assert (message.content, message.id, message.name) == ("no", "7", "bot")
    assert message.response_metadata["medguard"]["outcome"] == "skipped"
    with pytest.raises(BlockedError, match="a dict has no place") as caught:
        refusal_like({}, "no", [VERDICT])
    assert caught.value.verdict is VERDICT


def test_verdicts_are_attached_to_a_copy() -> None:
    answer = AIMessage("hi", response_metadata={"model": "m"})
    marked = attach_verdicts(answer, [VERDICT, VERDICT])
    assert marked.response_metadata["model"] == "m"
    assert marked.response_metadata["medguard"]["verdicts"] == [VERDICT.to_dict()] * 2
    assert answer.response_metadata == {"model": "m"}
    assert attach_verdicts(7, [VERDICT]) == 7


PROMPT = ChatPromptTemplate.from_messages([("human", "{question}")])


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (CHAT, AIMessage),
        (PROMPT | CHAT, AIMessage),
        (CHAT.bind(stop=["x"]), AIMessage),
        (MedGuard(CHAT, classifier=KeywordScorer([])), AIMessage),
        (PROMPT | CHAT | StrOutputParser(), GuardedStr),
        (FakeListLLM(responses=["hi"]), GuardedStr),
    ],
    ids=["chat", "prompt|chat", "bound", "guarded", "parsed", "completion"],
)
def test_refusals_before_the_call_have_the_declared_type(model: Any, kind: type) -> None:
    assert type(adapt(model).refuse("no", "input", None, [VERDICT])) is kind


class Says:
    def message(self, prompt: str) -> BaseMessage:
        return AIMessage(prompt)

    def __call__(self, prompt: str) -> AIMessage | None:
        return AIMessage(prompt)


async def later(prompt: str) -> AIMessage:
    return AIMessage(prompt)


def awaitable(prompt: str) -> Awaitable[AIMessage]:
    return later(prompt)


def streams(prompt: str) -> Iterator[AIMessageChunk]:
    yield AIMessageChunk(prompt)


async def streams_later(prompt: str) -> AsyncIterator[AIMessageChunk]:
    yield AIMessageChunk(prompt)


def bare(prompt: str) -> typing.Iterator:  # type: ignore[type-arg]
    yield prompt


def several(prompt: str) -> list[AIMessage]:
    return [AIMessage(prompt)]


def unknown(prompt: str) -> Nothing:  # type: ignore[name-defined]  # noqa: F821
    return prompt


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (later, AIMessage),
        (awaitable, AIMessage),
        (streams, AIMessage),
        (streams_later, AIMessage),
        (Says(), AIMessage),
        (Says().message, AIMessage),
        (functools.partial(later), AIMessage),
        (asynchronous, GuardedStr),
        (bare, GuardedStr),
        (several, GuardedStr),
        (unknown, GuardedStr),
        (lambda prompt: prompt, GuardedStr),
        (len, GuardedStr),
        (print, GuardedStr),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_refusals_before_the_call_have_the_annotated_type(model: Any, kind: type) -> None:
    refusal = adapt(model).refuse("no", "input", None, [VERDICT])
    assert type(refusal) is kind
    assert "no" in (refusal, getattr(refusal, "content", None))


@pytest.mark.parametrize(("limit", "most"), [(2, 2), (None, 6)])
def test_no_more_calls_at_once_than_the_configuration_allows(limit: int | None, most: int) -> None:
    running: list[str] = []
    peaks: list[int] = []

    async def work(prompt: str) -> str:
        running.append(prompt)
        peaks.append(len(running))
        await asyncio.sleep(0)  # lets all others begin that may
        running.remove(prompt)
        return prompt

    guard = MedGuard(work, classifier=KeywordScorer([]))
    config: Any = {} if limit is None else {"max_concurrency": limit}
    prompts = [f"number {number}" for number in range(6)]
    assert asyncio.run(guard.abatch(prompts, config=config)) == prompts
    assert max(peaks) == most


@pytest.mark.parametrize(
    "model", [RunnableLambda(lambda text: text), CHAT | JsonOutputParser()], ids=["any", "json"]
)
def test_chains_that_declare_nothing_raise(model: Any) -> None:
    with pytest.raises(BlockedError, match="does not declare"):
        adapt(model).refuse("no", "input", None, [VERDICT])


class Bad(FakeListChatModel):
    def batch(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("private words")

    async def abatch(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError("private words")


def test_runnable_whose_batch_raises() -> None:
    adapter = adapt(Bad(responses=["hi"]))
    for answers in (
        adapter.call(["a", "b"], [{}] * 2, {}),
        asyncio.run(adapter.acall(["a", "b"], [{}] * 2, {})),
    ):
        assert [str(answer) for answer in answers] == ["the guarded model raised ValueError"] * 2


def test_pipelines_are_known_by_their_class() -> None:
    pipeline = type("TextGenerationPipeline", (), {"__module__": "transformers.pipelines.text_generation"})
    assert is_pipeline(pipeline())
    assert is_pipeline(type("Own", (pipeline,), {})())
    assert not is_pipeline(len)


CHAT_INPUT = [{"role": "user", "content": "question"}]
PREFILLED = [*CHAT_INPUT, {"role": "assistant", "content": "Sure,"}]


@pytest.mark.parametrize(
    ("given", "generated", "text"),
    [
        ("question", "question and answer", " and answer"),
        ("question", "answer", "answer"),
        (CHAT_INPUT, [*CHAT_INPUT, {"role": "assistant", "content": "answer"}], "answer"),
        (PREFILLED, [*CHAT_INPUT, {"role": "assistant", "content": "Sure, answer"}], "Sure, answer"),
        (CHAT_INPUT, "answer", "answer"),
    ],
)
def test_generated_text_is_told_from_the_prompt(given: Any, generated: Any, text: str) -> None:
    assert PipelineAdapter(len).answer_text(given, [{"generated_text": generated}]) == text


def test_all_generated_sequences_are_read_and_marked() -> None:
    adapter = PipelineAdapter(len)
    answer = [{"generated_text": "q one"}, {"generated_text": "q two"}]
    assert adapter.answer_text("q", answer) == " one\n\n two"
    assert [item["medguard"]["outcome"] for item in adapter.attach(answer, [VERDICT])] == ["skipped"] * 2
    assert len(adapter.refuse("no", "q", answer, [VERDICT])) == 2


@pytest.mark.parametrize(
    ("given", "answer", "generated"),
    [
        ("q", None, "no"),
        (CHAT_INPUT, None, [*CHAT_INPUT, {"role": "assistant", "content": "no"}]),
        (CHAT_INPUT, [{"generated_text": "alone"}], "no"),
    ],
)
def test_pipeline_refusals_look_like_answers(given: Any, answer: Any, generated: Any) -> None:
    (refusal,) = PipelineAdapter(len).refuse("no", given, answer, [VERDICT])
    assert refusal["generated_text"] == generated
    assert refusal["medguard"]["allowed"]


def test_human_messages_have_no_place_for_a_refusal() -> None:
    with pytest.raises(BlockedError):
        refusal_like(HumanMessage("x"), "no", [VERDICT])
