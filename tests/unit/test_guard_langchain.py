"""The guard among LangChain's parts: chat models, conversations, chains, streams and callbacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda

from medguard import BlockedError, GuardedStr, MedGuard, Stage
from medguard.policy import DEFAULT_REFUSAL
from tests.conftest import SENTINEL
from tests.unit.guards import Driver, Echo, guard_of

CHAT = FakeListChatModel(responses=["drink water"])
PROMPT = ChatPromptTemplate.from_messages([("system", "arsenic is the topic"), ("human", "{question}")])


def test_chat_models_give_messages_back(driver: Driver) -> None:
    answer = driver.invoke(guard_of(CHAT), "water")
    assert (type(answer), answer.content) == (AIMessage, "drink water")
    assert answer.response_metadata["medguard"]["allowed"]
    refusal = driver.invoke(guard_of(CHAT), "arsenic")
    assert (type(refusal), refusal.content) == (AIMessage, DEFAULT_REFUSAL)
    assert refusal.response_metadata["medguard"]["stage"] == "prompt"
    late = driver.invoke(guard_of(FakeListChatModel(responses=["arsenic"])), "water")
    assert (late.content, late.response_metadata["medguard"]["stage"]) == (DEFAULT_REFUSAL, "response")


CONVERSATIONS = [
    lambda text: text,
    lambda text: [HumanMessage(text)],
    lambda text: [SystemMessage("x"), HumanMessage("hi"), AIMessage("hello"), HumanMessage(text)],
    lambda text: [("human", text)],
    lambda text: [{"role": "user", "content": text}],
    lambda text: [
        HumanMessage([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": "u"}}])
    ],
    lambda text: [HumanMessage(text), AIMessage("Sure, here is")],
    lambda text: [HumanMessage("hi"), AIMessage(f"Sure, about {text}")],
    lambda text: PROMPT.invoke({"question": text}),
]


@pytest.mark.parametrize("make", CONVERSATIONS)
def test_conversations_are_read(driver: Driver, make: Callable[[str], Any]) -> None:
    assert driver.invoke(guard_of(CHAT), make("water")).content == "drink water"
    assert driver.invoke(guard_of(CHAT), make("arsenic")).content == DEFAULT_REFUSAL


def test_state_of_an_agent_is_read(driver: Driver) -> None:
    agent = RunnableLambda(lambda state: state["messages"][-1].content.upper())
    assert driver.invoke(guard_of(agent), {"messages": [HumanMessage("water")]}) == "WATER"
    with pytest.raises(BlockedError) as caught:
        driver.invoke(guard_of(agent), {"messages": [HumanMessage("water")], "note": "arsenic"})
    assert caught.value.verdict.stage is Stage.PROMPT


def test_tool_calls_of_an_answer_are_read(driver: Driver) -> None:
    call = {"name": "order", "args": {"substance": "arsenic"}, "id": "1"}
    model = RunnableLambda(lambda _: AIMessage("", tool_calls=[call]))
    answer = driver.invoke(guard_of(model), "water")
    assert (answer.content, answer.tool_calls) == (DEFAULT_REFUSAL, [])


@pytest.mark.parametrize(
    "make",
    [
        lambda guard: guard | StrOutputParser(),
        lambda guard: PROMPT | guard | StrOutputParser(),
        lambda guard: RunnableLambda(lambda value: value) | guard | (lambda message: message.content),
    ],
)
def test_guard_is_a_part_of_chains(driver: Driver, make: Callable[[Any], Any]) -> None:
    chain = make(guard_of(CHAT))
    for text, answer in (("water", "drink water"), ("arsenic", DEFAULT_REFUSAL)):
        value = {"question": text} if "question" in str(chain.get_input_jsonschema()) else text
        assert driver.invoke(chain, value) == answer
        assert driver.batch(chain, [value, value]) == [answer, answer]


def test_chain_within_the_guard(driver: Driver) -> None:
    guard = guard_of(PROMPT | CHAT | StrOutputParser())
    assert driver.invoke(guard, {"question": "water"}) == "drink water"
    refusal = driver.invoke(guard, {"question": "arsenic"})
    assert (type(refusal), refusal) == (GuardedStr, DEFAULT_REFUSAL)


@pytest.mark.parametrize("text", ["water", "arsenic"])
def test_streams_yield_only_checked_text(driver: Driver, text: str) -> None:
    blocked = [DEFAULT_REFUSAL]
    assert driver.stream(guard_of(Echo(lambda prompt: "take arsenic")), text) == blocked
    assert driver.stream(guard_of(Echo()), text) == (["answer to water"] if text == "water" else blocked)
    chunks = driver.stream(guard_of(FakeListChatModel(responses=["arsenic"])), text)
    assert [chunk.content for chunk in chunks] == blocked
    assert (
        driver.stream(guard_of(FakeListChatModel(responses=["arsenic"])) | StrOutputParser(), text) == blocked
    )


class Recorder(BaseCallbackHandler):
    """Notes which chat models start, with which tags."""

    def __init__(self) -> None:
        self.started: list[tuple[str, list[str] | None, Any]] = []

    def on_chat_model_start(
        self,
        serialized: Any,
        messages: list[list[BaseMessage]],
        *,
        tags: list[str] | None = None,
        metadata: Any = None,
        **kwargs: Any,
    ) -> None:
        self.started.append((str(messages[0][0].content), tags, (metadata or {}).get("case")))


def test_callbacks_and_tags_reach_the_model(driver: Driver) -> None:
    recorder = Recorder()
    config = {"callbacks": [recorder], "tags": ["ward"], "metadata": {"case": 7}}
    driver.invoke(guard_of(CHAT), "water", config)
    driver.batch(guard_of(CHAT), ["water", "arsenic"], config)
    assert recorder.started == [("water", ["ward"], 7)] * 2


class Runs(BaseCallbackHandler):
    """Remembers the chains and chat models that were started, with their tags."""

    def __init__(self) -> None:
        self.started: list[tuple[str, tuple[str, ...]]] = []

    def on_chain_start(self, serialized: Any, inputs: Any, *, tags: Any = None, **_: Any) -> None:
        self.started.append(("chain", tuple(tags or ())))

    def on_chat_model_start(self, serialized: Any, messages: Any, *, tags: Any = None, **_: Any) -> None:
        self.started.append(("model", tuple(tags or ())))


def test_batches_and_streams_start_runs_with_tags(driver: Driver) -> None:
    model = FakeListChatModel(responses=["water"])
    runs = Runs()
    config = {"callbacks": [runs], "tags": ["mine"]}
    driver.batch(guard_of(model), ["water", "arsenic"], config)
    assert sorted(kind for kind, _ in runs.started) == ["chain", "chain", "model"]
    assert all("mine" in tags for _, tags in runs.started)
    runs.started.clear()
    driver.stream(guard_of(model), "water", config)
    assert sorted(kind for kind, _ in runs.started) == ["chain", "model"]


def test_batch_as_completed_gives_every_index() -> None:
    guard = guard_of(FakeListChatModel(responses=["water"]))
    found = dict(guard.batch_as_completed(["water", "arsenic", "more water"]))
    assert {index: message.content for index, message in found.items()} == {
        0: "water",
        1: DEFAULT_REFUSAL,
        2: "water",
    }


def test_a_chain_streams_through_the_guard(driver: Driver) -> None:
    model = FakeListChatModel(responses=["drink water"])
    chain = RunnableLambda(lambda text: text) | guard_of(model) | StrOutputParser()
    assert "".join(driver.stream(chain, "water")) == "drink water"
    assert "".join(driver.stream(chain, "arsenic")) == DEFAULT_REFUSAL


class Tooled(FakeListChatModel):
    """Remembers the tools it was bound to."""

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self.bind(tools=tools, **options)


def test_tools_are_bound_inside_the_guard(driver: Driver) -> None:
    bound = guard_of(Tooled(responses=["water"])).bind_tools([{"name": "order"}])
    assert isinstance(bound, MedGuard)
    assert bound.model.kwargs == {"tools": [{"name": "order"}]}
    assert driver.invoke(bound, "water").content == "water"
    assert driver.invoke(bound, "arsenic").content == DEFAULT_REFUSAL


def test_what_the_model_cannot_do_the_guard_cannot() -> None:
    guard = guard_of(lambda prompt: "water")
    assert not hasattr(guard, "bind_tools")
    assert not hasattr(guard, "no_such_thing")


def test_retries_and_fallbacks_go_around_the_guard(driver: Driver) -> None:
    calls = []

    def fails_once(prompt: str) -> str:
        calls.append(prompt)
        if len(calls) == 1:
            raise OSError(SENTINEL)
        return "water"

    guard = guard_of(RunnableLambda(fails_once))
    assert driver.invoke(guard.with_retry(wait_exponential_jitter=False), "water") == "water"
    failing = guard_of(RunnableLambda(lambda _: 1 / 0))
    spare = guard_of(RunnableLambda(lambda _: "spare"))
    assert driver.invoke(failing.with_fallbacks([spare]), "water") == "spare"
