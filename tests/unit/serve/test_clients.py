"""What clients do to the gateway and it does to them: too much, too slow, too many, gone, stopped."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from starlette.responses import Response, StreamingResponse

from medguard.testing import SlowScorer
from tests.unit.serve.servers import (
    Upstream,
    as_data,
    ask,
    chat,
    chat_events,
    event,
    eventually,
    gateway,
    openai_client,
    streamed,
    text_of_chunks,
)

BODY = {"messages": [{"role": "user", "content": "hello"}]}
LONG = "one harmless word after another " * 60


class TestClient:
    @pytest.mark.parametrize("known", [True, False])
    def test_a_long_request_is_refused(self, behind: Upstream, known: bool) -> None:
        body = json.dumps({"messages": [{"role": "user", "content": "x" * 5000}]}).encode()
        with gateway(behind.url, max_request_bytes=2000) as (address, _):
            for path in ("v1/chat/completions", "v1/moderations", "medguard/check"):
                content = body if known else iter([body[:1000], body[1000:]])
                answer = httpx.post(f"{address}/{path}", content=content)
                assert answer.status_code == 413
                assert answer.json()["error"]["code"] == "request_too_large"
        assert behind.seen == []

    @pytest.mark.parametrize("stream", [False, True])
    def test_one_that_goes_away_cancels_the_upstream(
        self, address: str, behind: Upstream, stream: bool
    ) -> None:
        asked, left = threading.Event(), threading.Event()

        async def endless() -> AsyncIterator[str]:
            try:
                asked.set()
                while True:
                    yield ": wait\n\n"
                    await asyncio.sleep(0.05)
            finally:
                left.set()

        media_type = "text/event-stream" if stream else "application/json"
        behind.reply = lambda body: StreamingResponse(endless(), media_type=media_type)

        async def go_away() -> None:
            async with httpx.AsyncClient() as client:
                talk = asyncio.create_task(
                    client.post(f"{address}/v1/chat/completions", json={**BODY, "stream": stream}, timeout=60)
                )
                assert await asyncio.to_thread(asked.wait, 20)
                talk.cancel()
                await asyncio.gather(talk, return_exceptions=True)

        asyncio.run(go_away())
        assert left.wait(20)
        assert eventually(lambda: 'status="499"' in httpx.get(f"{address}/metrics").text)

    def test_a_slow_reader_holds_the_upstream_back(self, behind: Upstream) -> None:
        sent = 0
        total = 200_000

        async def flood() -> AsyncIterator[str]:
            nonlocal sent
            part = "".join(as_data(event({"content": "harmless words " * 20})))
            for _ in range(total):
                yield part
                sent += 1

        behind.reply = lambda body: StreamingResponse(flood(), media_type="text/event-stream")
        with (
            gateway(behind.url) as (address, _),
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{address}/v1/chat/completions", json={**BODY, "stream": True}) as answer,
        ):
            assert answer.status_code == 200
            before = -1
            while before != sent:  # until it stands still
                before = sent
                time.sleep(1.0)
            assert 0 < sent < total // 10

    def test_one_that_stops_reading_is_left(self, behind: Upstream) -> None:
        left = threading.Event()

        async def flood() -> AsyncIterator[str]:
            try:
                while True:
                    yield "".join(as_data(event({"content": "harmless words " * 200})))
                    await asyncio.sleep(0)
            finally:
                left.set()

        behind.reply = lambda body: StreamingResponse(flood(), media_type="text/event-stream")
        with (
            gateway(behind.url, write_timeout_s=0.5) as (address, _),
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{address}/v1/chat/completions", json={**BODY, "stream": True}),
        ):
            assert left.wait(30)


class TestGateway:
    def test_the_loop_is_free_while_the_classifier_works(self, behind: Upstream) -> None:
        scorer = SlowScorer()
        with gateway(behind.url, scorer=scorer) as (address, _), openai_client(address) as client:
            answers: list[Any] = []
            talk = threading.Thread(target=lambda: answers.append(ask(client)))
            talk.start()
            assert scorer.entered.wait(20)
            assert httpx.get(f"{address}/healthz").status_code == 200
            scorer.release.set()
            talk.join(20)
        assert answers[0].choices[0].message.content == "a fine answer"

    def test_stopping_lets_open_requests_end(self, behind: Upstream) -> None:
        asked = threading.Event()
        go_on = threading.Event()
        chunks: list[Any] = []

        async def slow() -> AsyncIterator[str]:
            first, *rest = as_data(*chat_events(["well ", "done"]))
            yield first
            asked.set()
            await asyncio.to_thread(go_on.wait, 20)
            for part in [*rest, "data: [DONE]\n\n"]:
                yield part

        behind.reply = lambda body: StreamingResponse(slow(), media_type="text/event-stream")

        def listen(address: str) -> None:
            with openai_client(address) as client:
                chunks.extend(ask(client, stream=True))

        with gateway(behind.url) as (address, _):
            talk = threading.Thread(target=listen, args=(address,))
            talk.start()
            assert asked.wait(20)
            # Leaving stops the gateway, which has to wait for the answer.
            threading.Timer(0.5, go_on.set).start()
        talk.join(20)
        assert text_of_chunks(chunks) == "well done"

    def test_concurrent_requests_are_scored_together(self, behind: Upstream) -> None:
        scorer = SlowScorer()
        with gateway(behind.url, scorer=scorer) as (address, app), openai_client(address) as client:
            batching = app.state.gateway.scorer
            talks = [threading.Thread(target=ask, args=(client, f"hello {number}")) for number in range(9)]
            talks[0].start()
            assert scorer.entered.wait(20)
            for talk in talks[1:]:
                talk.start()
            assert eventually(lambda: batching.waiting == 8)
            scorer.release.set()
            for talk in talks:
                talk.join(20)
        assert [len(prompts) for prompts, responses in scorer.calls if responses is None] == [1, 8]

    def test_many_clients_at_once_get_their_own_answers(self, behind: Upstream) -> None:
        def reply(body: dict[str, Any]) -> Response:
            text = body["messages"][-1]["content"]
            return streamed(chat_events([f"re: {text}"])) if body.get("stream") else chat(f"re: {text}")

        behind.reply = reply

        async def talk(address: str) -> list[str | None]:
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="k", max_retries=0) as client:

                async def one(number: int) -> str | None:
                    messages: Any = [{"role": "user", "content": f"question {number}"}]
                    if number % 2:
                        answer = await client.chat.completions.create(model="tiny", messages=messages)
                        return answer.choices[0].message.content
                    stream = await client.chat.completions.create(
                        model="tiny", messages=messages, stream=True
                    )
                    return "".join(
                        [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
                    )

                return await asyncio.gather(*(one(number) for number in range(64)))

        with gateway(behind.url) as (address, _):
            answers = asyncio.run(talk(address))
        assert answers == [f"re: question {number}" for number in range(64)]
