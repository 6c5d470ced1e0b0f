"""Chat completions through the gateway, whole and streamed, with the official client."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from starlette.responses import JSONResponse

from medguard import Policy
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import FailingScorer, KeywordScorer
from tests.conftest import SENTINEL
from tests.unit.serve.servers import (
    KEY,
    NAMES,
    USAGE,
    Upstream,
    ask,
    chat,
    chat_events,
    event,
    gateway,
    openai_client,
    streamed,
    text_of_chunks,
)

LONG = "one harmless word after another " * 60


class TestChat:
    def test_an_allowed_answer_is_the_upstream_s_own_with_the_verdicts(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        answer = ask(client, temperature=0.5)
        theirs = json.loads(bytes(chat("a fine answer").body))
        ours = answer.to_dict()
        note = ours.pop("medguard")
        assert ours == theirs
        assert note["allowed"] is True
        assert [item["stage"] for item in note["verdicts"]] == ["prompt", "response"]
        assert behind.seen == [
            {"messages": [{"role": "user", "content": "hello"}], "model": "tiny", "temperature": 0.5}
        ]

    def test_a_blocked_request_never_reaches_the_upstream(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        answer = ask(client, "arsenic, please", n=2)
        assert behind.seen == []
        assert [choice.message.content for choice in answer.choices] == [DEFAULT_REFUSAL] * 2
        assert {choice.finish_reason for choice in answer.choices} == {"content_filter"}
        assert answer.medguard["stage"] == "prompt"
        assert answer.medguard["action"] == "block"

    def test_a_blocked_answer_is_replaced_with_all_that_tells_of_it(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        behind.reply = lambda body: chat("take arsenic", reasoning_content="arsenic it is")
        answer = ask(client)
        assert "arsenic" not in answer.to_json()
        assert answer.choices[0].message.content == DEFAULT_REFUSAL
        assert answer.choices[0].finish_reason == "content_filter"
        assert answer.medguard["stage"] == "response"
        assert answer.usage.to_dict() == USAGE

    def test_every_choice_is_checked_for_itself(self, client: openai.OpenAI, behind: Upstream) -> None:
        behind.reply = lambda body: chat("fine", "take arsenic", "also fine")
        answer = ask(client, n=3)
        assert [choice.message.content for choice in answer.choices] == ["fine", DEFAULT_REFUSAL, "also fine"]
        assert [choice.finish_reason for choice in answer.choices] == ["stop", "content_filter", "stop"]
        assert [item["outcome"] for item in answer.medguard["verdicts"]] == [
            "passed",
            "passed",
            "tripped",
            "passed",
        ]

    @pytest.mark.parametrize("word", ["arsenic", "\\u0061rsenic"])
    def test_tool_calls_are_checked(self, client: openai.OpenAI, behind: Upstream, word: str) -> None:
        call = {"name": "order", "arguments": f'{{"what": "{word}"}}'}
        behind.reply = lambda body: chat(
            None, tool_calls=[{"id": "call_1", "type": "function", "function": call}]
        )
        answer = ask(client)
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].message.content == DEFAULT_REFUSAL

    def test_harmless_tool_calls_pass(self, client: openai.OpenAI, behind: Upstream) -> None:
        call = {"name": "look_up", "arguments": '{"what": "aspirin"}'}
        behind.reply = lambda body: chat(
            None, tool_calls=[{"id": "call_1", "type": "function", "function": call}]
        )
        assert ask(client).choices[0].message.tool_calls[0].function.arguments == call["arguments"]

    def test_text_beside_the_choices_is_checked(self, client: openai.OpenAI, behind: Upstream) -> None:
        body = {**json.loads(bytes(chat("fine").body)), "citations": ["all about arsenic and its uses"]}
        behind.reply = lambda _: JSONResponse(body)
        answer = ask(client)
        assert "arsenic" not in answer.to_json()
        assert answer.choices[0].message.content == DEFAULT_REFUSAL

    def test_an_attack_split_over_turns_is_caught(self, behind: Upstream) -> None:
        with (
            gateway(behind.url, scorer=KeywordScorer(["first\n\nsecond"])) as (address, _),
            openai_client(address) as client,
        ):
            answer = client.chat.completions.create(
                model="tiny",
                messages=[
                    {"role": "user", "content": "first"},
                    {"role": "assistant", "content": "and then?"},
                    {"role": "user", "content": "second"},
                ],
            )
        assert answer.choices[0].finish_reason == "content_filter"
        assert behind.seen == []

    def test_a_refused_turn_does_not_block_what_follows_and_the_model_never_reads_it(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        client.chat.completions.create(
            model="tiny",
            messages=[
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "arsenic, please"},
                {"role": "assistant", "content": DEFAULT_REFUSAL},
                {"role": "user", "content": "and aspirin?"},
            ],
        )
        assert behind.seen[0]["messages"] == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "and aspirin?"},
        ]

    @pytest.mark.parametrize(
        "more",
        [
            {"documents": [{"text": "buy arsenic"}]},
            {"prediction": {"type": "content", "content": "arsenic"}},
            {"conversation": "arsenic"},
            {"buy some arsenic": 1},
        ],
    )
    def test_unknown_fields_with_text_are_checked(
        self, client: openai.OpenAI, behind: Upstream, more: Any
    ) -> None:
        answer = ask(client, extra_body=more)
        assert answer.choices[0].finish_reason == "content_filter"
        assert behind.seen == []

    def test_tools_are_the_deployer_s_words(self, behind: Upstream) -> None:
        tools = [{"type": "function", "function": {"name": "f", "description": "orders arsenic"}}]
        for check_system, reached in ((False, 1), (True, 1)):
            with (
                gateway(behind.url, policy=Policy(check_system=check_system)) as (address, _),
                openai_client(address) as client,
            ):
                ask(client, tools=tools)
                assert len(behind.seen) == reached

    def test_a_stage_that_the_policy_leaves_out_is_not_checked(self, behind: Upstream) -> None:
        behind.reply = lambda body: chat("take arsenic")
        policy = Policy.from_mapping({"stages": ["prompt"]})
        with gateway(behind.url, policy=policy) as (address, _), openai_client(address) as client:
            answer = ask(client)
        assert answer.choices[0].message.content == "take arsenic"
        assert answer.medguard["outcome"] == "skipped"

    def test_shadow_mode_changes_nothing_but_tells(self, behind: Upstream) -> None:
        behind.reply = lambda body: chat("take arsenic")
        with (
            gateway(behind.url, policy=Policy.from_mapping({"action": "shadow"})) as (address, _),
            openai_client(address) as client,
        ):
            answer = ask(client, "arsenic?")
        assert answer.choices[0].message.content == "take arsenic"
        assert {item["action"] for item in answer.medguard["verdicts"]} == {"shadow"}

    def test_redaction_takes_out_what_trips(self, behind: Upstream) -> None:
        behind.reply = lambda body: chat(LONG + "arsenic" + LONG)
        policy = Policy.from_mapping({"action": "redact"})
        with gateway(behind.url, policy=policy) as (address, _), openai_client(address) as client:
            answer = ask(client)
        content = answer.choices[0].message.content
        assert "arsenic" not in content
        assert content.count("[removed]") == 1
        assert content.startswith(LONG[:1000])
        assert content.endswith(LONG[-1000:])

    def test_redaction_does_not_mend_what_escapes_hide(self, behind: Upstream) -> None:
        behind.reply = lambda body: chat(f'{{"a": "{LONG} arsenic", "b": "{LONG} \\u0061rsenic"}}')
        policy = Policy.from_mapping({"action": "redact"})
        with gateway(behind.url, policy=policy) as (address, _), openai_client(address) as client:
            answer = ask(client)
        assert answer.choices[0].message.content == DEFAULT_REFUSAL

    def test_a_guard_that_fails_blocks(self, behind: Upstream) -> None:
        with (
            gateway(behind.url, scorer=FailingScorer()) as (address, _),
            openai_client(address) as client,
        ):
            answer = ask(client)
        assert answer.medguard["outcome"] == "failed"
        assert answer.choices[0].message.content == DEFAULT_REFUSAL
        assert behind.seen == []

    def test_a_guard_that_fails_under_raise_is_an_error(self, behind: Upstream) -> None:
        policy = Policy.from_mapping({"on_error": "raise"})
        scorer = FailingScorer(RuntimeError(SENTINEL))
        with (
            gateway(behind.url, scorer=scorer, policy=policy) as (address, _),
            openai_client(address) as client,
            pytest.raises(openai.InternalServerError) as caught,
        ):
            ask(client)
        assert caught.value.type == "guard_error"
        assert SENTINEL not in str(caught.value)

    def test_the_async_client(self, address: str, behind: Upstream) -> None:
        behind.reply = lambda body: (
            streamed(chat_events(["well ", "done"])) if body.get("stream") else chat("fine")
        )

        async def talk() -> tuple[Any, list[Any]]:
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY) as client:
                messages: Any = [{"role": "user", "content": "hello"}]
                whole = await client.chat.completions.create(model="tiny", messages=messages)
                stream = await client.chat.completions.create(model="tiny", messages=messages, stream=True)
                return whole, [chunk async for chunk in stream]

        whole, chunks = asyncio.run(talk())
        assert whole.choices[0].message.content == "fine"
        assert text_of_chunks(chunks) == "well done"


class TestStreams:
    def test_an_allowed_stream_is_the_upstream_s_own_with_the_verdicts(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        events = [*chat_events(["a ", LONG, " z"]), {**event({}), "choices": [], "usage": USAGE}]
        behind.reply = lambda body: streamed(events)
        chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
        assert text_of_chunks(chunks) == f"a {LONG} z"
        assert chunks[0].id == NAMES["id"]
        assert chunks[-1].usage.to_dict() == USAGE
        noted = [chunk for chunk in chunks if hasattr(chunk, "medguard")]
        assert [chunk.choices[0].finish_reason for chunk in noted] == ["stop"]
        assert [item["outcome"] for item in noted[0].medguard["verdicts"]] == ["passed", "passed"]

    def test_nothing_from_the_blocked_window_onward_leaves(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        behind.reply = lambda body: streamed(chat_events([LONG, "ars", "enic ", LONG]))
        chunks = list(ask(client, stream=True))
        text = text_of_chunks(chunks)
        shown = text.removesuffix(f"\n\n{DEFAULT_REFUSAL}")
        assert shown != text
        assert shown
        assert LONG.startswith(shown)
        assert chunks[-1].choices[0].finish_reason == "content_filter"
        assert chunks[-1].medguard["allowed"] is False

    def test_a_blocked_request_streams_a_refusal(self, client: openai.OpenAI, behind: Upstream) -> None:
        chunks = list(ask(client, "arsenic", stream=True, stream_options={"include_usage": True}))
        assert text_of_chunks(chunks) == DEFAULT_REFUSAL
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [
            None,
            "content_filter",
        ]
        assert chunks[-1].usage.total_tokens == 0
        assert behind.seen == []

    def test_choices_are_held_back_for_themselves(self, client: openai.OpenAI, behind: Upstream) -> None:
        pairs = zip(chat_events(["fine ", "text"]), chat_events(["take ", "arsenic"], index=1), strict=True)
        behind.reply = lambda body: streamed([item for pair in pairs for item in pair])
        chunks = list(ask(client, stream=True, n=2))
        assert text_of_chunks(chunks) == "fine text"
        assert text_of_chunks(chunks, 1) == DEFAULT_REFUSAL

    @pytest.mark.parametrize(("word", "passes"), [("aspirin", True), ("arsenic", False)])
    def test_tool_calls_are_held_back_whole(
        self, client: openai.OpenAI, behind: Upstream, word: str, passes: bool
    ) -> None:
        def call(**function: str) -> dict[str, Any]:
            return {"tool_calls": [{"index": 0, "function": function}]}

        behind.reply = lambda body: streamed(
            [
                event({"role": "assistant", "content": None}),
                event(call(name="order", arguments="")),
                event(call(arguments='{"what": "')),
                event(call(arguments=word[:3])),
                event(call(arguments=word[3:] + '"}')),
                event({}, "tool_calls"),
            ]
        )
        chunks = list(ask(client, stream=True))
        arguments = "".join(
            item.function.arguments or ""
            for chunk in chunks
            for choice in chunk.choices
            for item in choice.delta.tool_calls or ()
        )
        assert arguments == ('{"what": "aspirin"}' if passes else "")
        assert chunks[-1].choices[0].finish_reason == ("tool_calls" if passes else "content_filter")

    def test_reasoning_is_checked(self, client: openai.OpenAI, behind: Upstream) -> None:
        behind.reply = lambda body: streamed(
            [event({"reasoning_content": "arsenic would do"}), *chat_events(["fine"])]
        )
        chunks = list(ask(client, stream=True))
        assert not any("arsenic" in chunk.to_json() for chunk in chunks)
        assert text_of_chunks(chunks) == DEFAULT_REFUSAL

    def test_text_beside_the_choices_is_left_out(self, client: openai.OpenAI, behind: Upstream) -> None:
        behind.reply = lambda body: streamed(
            [{**event({"content": "fine"}, "stop"), "notes": "take arsenic"}]
        )
        (chunk,) = list(ask(client, stream=True))
        assert chunk.choices[0].delta.content == "fine"
        assert "arsenic" not in chunk.to_json()

    def test_redaction_goes_on(self, behind: Upstream) -> None:
        behind.reply = lambda body: streamed(chat_events([LONG, "arsenic", LONG]))
        policy = Policy.from_mapping({"action": "redact"})
        with gateway(behind.url, policy=policy) as (address, _), openai_client(address) as client:
            chunks = list(ask(client, stream=True))
        text = text_of_chunks(chunks)
        assert "arsenic" not in text
        assert text.count("[removed]") == 1
        assert text.endswith(LONG[-1000:])
        assert chunks[-1].choices[0].finish_reason == "stop"

    def test_a_stage_that_the_policy_leaves_out_is_not_held(self, behind: Upstream) -> None:
        behind.reply = lambda body: streamed(chat_events(["take ", "arsenic"]))
        policy = Policy.from_mapping({"stages": ["prompt"]})
        with gateway(behind.url, policy=policy) as (address, _), openai_client(address) as client:
            chunks = list(ask(client, stream=True))
        assert text_of_chunks(chunks) == "take arsenic"
        assert [chunk.choices[0].finish_reason for chunk in chunks].count("stop") == 1
        assert chunks[-1].medguard["outcome"] == "skipped"

    def test_a_stream_without_an_end_of_its_own_is_judged_to_its_last_character(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        behind.reply = lambda body: streamed([event({"content": "take arsenic"})])
        assert text_of_chunks(list(ask(client, stream=True))) == DEFAULT_REFUSAL
