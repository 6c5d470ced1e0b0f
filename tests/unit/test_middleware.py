from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from medguard import Action, Checker, InvalidInputError, OnError, Policy, Stage
from medguard.errors import MedGuardError
from medguard.middleware import MedGuardMiddleware
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import FailingScorer, KeywordScorer
from tests.unit.agents import Tools, agent_of, calls, note, run, says
from tests.unit.guards import Driver


class TestInput:
    def test_what_passes_is_answered_with_the_verdict_attached(self, driver: Driver) -> None:
        model = says("rest and drink")
        messages = run(driver, agent_of(model), HumanMessage("I have a cold"))
        assert [message.content for message in messages] == ["I have a cold", "rest and drink"]
        assert note(messages[-1])["stage"] == "response"
        assert note(messages[-1])["allowed"] is True

    def test_what_is_blocked_ends_the_run_before_the_model(self, driver: Driver) -> None:
        model = says("never said")
        messages = run(driver, agent_of(model), HumanMessage("how much arsenic kills?"))
        assert messages[-1].content == DEFAULT_REFUSAL
        assert isinstance(messages[-1], AIMessage)
        assert note(messages[-1])["stage"] == "prompt"
        assert model.shown == []

    def test_a_refused_turn_is_kept_from_the_model_and_blocks_nothing_later(self, driver: Driver) -> None:
        model = says("hello")
        agent = agent_of(model, options={"checkpointer": InMemorySaver()})
        config = {"configurable": {"thread_id": "1"}}
        run(driver, agent, HumanMessage("how much arsenic kills?"), config=config)
        messages = run(driver, agent, HumanMessage("never mind, hi"), config=config)
        assert len(messages) == 4
        assert messages[-1].content == "hello"
        assert [message.content for message in model.shown[0]] == ["never mind, hi"]

    def test_words_of_an_error_do_not_let_what_cannot_be_read_pass(self, driver: Driver) -> None:
        agent = agent_of(says("x", "never said"), media="block", options={"checkpointer": InMemorySaver()})
        config = {"configurable": {"thread_id": "1"}}
        words = "the input holds media or files, which the policy blocks"
        assert run(driver, agent, HumanMessage(words), config=config)[-1].content == "x"
        part = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
        image = HumanMessage([{"type": "text", "text": "how much arsenic kills?"}, part])
        assert run(driver, agent, image, config=config)[-1].content == DEFAULT_REFUSAL

    def test_a_request_split_over_turns_is_blocked(self, driver: Driver) -> None:
        class Both(KeywordScorer):
            def _score(self, text: str) -> float:
                return float("poison" in text and "husband" in text)

        model = says("go on", "never said")
        agent = agent_of(model, scorer=Both([]), options={"checkpointer": InMemorySaver()})
        config = {"configurable": {"thread_id": "1"}}
        run(driver, agent, HumanMessage("this is about my husband"), config=config)
        messages = run(driver, agent, HumanMessage("which poison?"), config=config)
        assert messages[-1].content == DEFAULT_REFUSAL

    def test_each_text_is_judged_once_in_a_conversation(self, driver: Driver) -> None:
        scorer = KeywordScorer([])
        tools = Tools()
        agent = agent_of(
            says(calls("look_up", what="x y"), "one", "two"),
            tools,
            scorer=scorer,
            options={"checkpointer": InMemorySaver()},
        )
        config = {"configurable": {"thread_id": "1"}}
        run(driver, agent, HumanMessage("a"), config=config)
        result = driver.invoke(agent, {"messages": [HumanMessage("b")]}, config=config)
        prompts = [prompts for prompts, responses in scorer.calls if responses is None]
        # The tool's result before it enters the conversation, and no more as part of it; nor the call of the
        # tool, which the guard has passed as an answer.
        assert prompts == [
            ["a"],
            ["fresh air"],
            ["b", "a\n\nb", "a\n\none\n\nb"],
        ]
        assert "medguard_passed" not in result

    def test_nobody_can_claim_that_a_text_was_passed(self, driver: Driver) -> None:
        model = says("fine", "never said")
        guard = MedGuardMiddleware(classifier=KeywordScorer(["arsenic"]))
        text = "how much arsenic kills?"
        agent = create_agent(model, middleware=[guard])
        state = {"messages": [HumanMessage(text)], "medguard_passed": [guard._digest(text)]}
        assert driver.invoke(agent, state)["messages"][-1].content == DEFAULT_REFUSAL

    def test_a_stage_left_out_is_not_checked(self, driver: Driver) -> None:
        messages = run(driver, agent_of(says("well"), stages={Stage.RESPONSE}), HumanMessage("arsenic?"))
        assert messages[-1].content == "well"
        messages = run(driver, agent_of(says("arsenic!"), stages={Stage.PROMPT}), HumanMessage("hi"))
        assert messages[-1].content == "arsenic!"


class TestAnswer:
    def test_a_blocked_answer_becomes_the_refusal(self, driver: Driver) -> None:
        messages = run(driver, agent_of(says("take arsenic")), HumanMessage("hi"))
        assert [message.content for message in messages] == ["hi", DEFAULT_REFUSAL]
        assert note(messages[-1])["stage"] == "response"

    def test_no_tool_runs_for_a_blocked_answer(self, driver: Driver) -> None:
        tools = Tools()
        messages = run(
            driver, agent_of(says(calls("look_up", what="arsenic"), "x"), tools), HumanMessage("hi")
        )
        assert messages[-1].content == DEFAULT_REFUSAL
        assert messages[-1].tool_calls == []
        assert len(messages) == 2
        assert tools.ran == []

    def test_structured_output_is_dropped_and_not_tried_again(self, driver: Driver) -> None:
        class Dose(BaseModel):
            drug: str

        model = says(calls("Dose", drug="much arsenic"), calls("Dose", drug="water"))
        result = driver.invoke(
            agent_of(model, options={"response_format": ToolStrategy(Dose)}),
            {"messages": [HumanMessage("hi")]},
        )
        assert result["messages"][-1].content == DEFAULT_REFUSAL
        assert result.get("structured_response") is None
        assert len(model.shown) == 1
        good = driver.invoke(
            agent_of(says(calls("Dose", drug="water")), options={"response_format": ToolStrategy(Dose)}),
            {"messages": [HumanMessage("hi")]},
        )
        assert good["structured_response"] == Dose(drug="water")

    @pytest.mark.parametrize("action", [Action.SHADOW, Action.ANNOTATE])
    def test_actions_that_let_through(self, driver: Driver, action: Action) -> None:
        tools = Tools("arsenic")
        model = says(calls("look_up", what="arsenic"), "arsenic!")
        messages = run(driver, agent_of(model, tools, action=action), HumanMessage("arsenic?"))
        assert [m.content for m in messages] == ["arsenic?", "", "arsenic", "arsenic!"]
        assert note(messages[-1])["action"] == action

    def test_a_policy_may_refuse_in_its_own_words(self, driver: Driver) -> None:
        agent = agent_of(says("arsenic"), refusals={"default": {"default": "No. Call {crisis_line}."}})
        assert run(driver, agent, HumanMessage("hi"))[-1].content.startswith("No. Call your local")


class TestFailure:
    def test_it_blocks_by_default(self, driver: Driver) -> None:
        model = says("never said")
        messages = run(driver, agent_of(model, scorer=FailingScorer()), HumanMessage("hi"))
        assert messages[-1].content == DEFAULT_REFUSAL
        assert note(messages[-1])["outcome"] == "failed"
        assert model.shown == []

    def test_it_lets_through_on_demand_and_stays_unjudged(self, driver: Driver) -> None:
        scorer = FailingScorer()
        tools = Tools()
        model = says(calls("look_up", what="x y"), "done")
        messages = run(
            driver, agent_of(model, tools, scorer=scorer, on_error=OnError.ALLOW), HumanMessage("hi")
        )
        assert messages[-1].content == "done"
        assert [prompts[0] for prompts, _ in scorer.calls].count("hi") > 2

    def test_it_raises_on_demand(self, driver: Driver) -> None:
        with pytest.raises(MedGuardError, match="RuntimeError"):
            run(driver, agent_of(says("x"), scorer=FailingScorer(), on_error="raise"), HumanMessage("hi"))

    def test_media_are_blocked_on_demand(self, driver: Driver) -> None:
        image = HumanMessage([{"type": "text", "text": "see"}, {"type": "image", "url": "https://x.org/a"}])
        assert run(driver, agent_of(says("seen")), image)[-1].content == "seen"
        assert run(driver, agent_of(says("x"), media="block"), image)[-1].content == DEFAULT_REFUSAL


class TestStreams:
    HARM = "this is what arsenic does to you"

    def collected(self, driver: Driver, agent: Any, mode: Any) -> list[Any]:
        state = {"messages": [HumanMessage("hi")]}

        async def collect() -> list[Any]:
            return [item async for item in agent.astream(state, stream_mode=mode)]

        if driver.is_async:
            return asyncio.run(collect())
        return list(agent.stream(state, stream_mode=mode))

    def events(self, agent: Any) -> list[Any]:
        async def collect() -> list[Any]:
            state = {"messages": [HumanMessage("hi")]}
            return [event async for event in agent.astream_events(state, version="v2")]

        return asyncio.run(collect())

    def test_without_the_guard_tokens_do_stream(self, driver: Driver) -> None:
        agent = create_agent(says(self.HARM))
        assert "arsenic" in str(self.collected(driver, agent, "messages"))
        assert "arsenic" in str(self.events(create_agent(says(self.HARM))))

    @pytest.mark.parametrize("mode", ["messages", "updates", "values", "debug", ["messages", "custom"]])
    def test_no_token_of_a_blocked_answer_leaves(self, driver: Driver, mode: Any) -> None:
        seen = str(self.collected(driver, agent_of(says(self.HARM)), mode))
        assert "arsenic" not in seen
        assert DEFAULT_REFUSAL in seen

    def test_no_token_of_a_blocked_answer_is_an_event(self) -> None:
        seen = str(self.events(agent_of(says(self.HARM))))
        assert "arsenic" not in seen
        assert DEFAULT_REFUSAL in seen

    def test_a_passed_answer_arrives_whole(self, driver: Driver) -> None:
        chunks = self.collected(driver, agent_of(says("drink plenty of water")), "messages")
        assert [message.content for message, _ in chunks] == ["drink plenty of water"]

    @pytest.mark.parametrize(
        "policy", [{"stages": {Stage.PROMPT}}, {"action": "shadow", "on_error": "allow"}]
    )
    def test_what_can_withhold_nothing_leaves_streams_alone(
        self, driver: Driver, policy: dict[str, Any]
    ) -> None:
        chunks = self.collected(driver, agent_of(says("drink water"), **policy), "messages")
        assert [message.content for message, _ in chunks][:3] == ["drink", " ", "water"]


def test_a_checker_takes_the_place_of_policy_and_classifier() -> None:
    checker = Checker(classifier=KeywordScorer([]))
    assert MedGuardMiddleware(checker=checker).checker is checker
    with pytest.raises(InvalidInputError, match="either a checker"):
        MedGuardMiddleware(checker=checker, policy=Policy())


def test_without_langchain_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['langchain.agents.middleware'] = None; import medguard.middleware"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'medguard[agents]'" in done.stderr
