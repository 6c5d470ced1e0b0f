"""What can go wrong around the gateway, each fault by a real server or client, and what the caller gets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import openai
import pytest
from starlette.responses import JSONResponse, Response, StreamingResponse

from medguard.policy import DEFAULT_REFUSAL
from medguard.serve.faults import upstream_error_fields
from tests.conftest import SENTINEL
from tests.unit.serve.servers import (
    Upstream,
    as_data,
    ask,
    chat,
    chat_events,
    event,
    gateway,
    openai_client,
    streamed,
    text_of_chunks,
)

BODY = {"messages": [{"role": "user", "content": "hello"}]}
LONG = "one harmless word after another " * 60


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


def broken_off(*parts: str) -> StreamingResponse:
    """A stream whose connection breaks after some parts."""

    async def source() -> AsyncIterator[str]:
        for part in parts:
            yield part
        raise ConnectionError

    return StreamingResponse(source(), media_type="text/event-stream")


class TestUpstream:
    @pytest.mark.parametrize("stream", [False, True])
    def test_down(self, stream: bool) -> None:
        with (
            gateway(f"http://127.0.0.1:{free_port()}") as (address, _),
            openai_client(address) as client,
        ):
            with pytest.raises(openai.APIStatusError) as caught:
                ask(client, stream=stream)
            assert caught.value.status_code == 502
            assert caught.value.code == "upstream_unreachable"
            ready = httpx.get(f"{address}/readyz")
            assert ready.status_code == 503
            assert ready.json()["upstream_reachable"] is False

    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503])
    def test_an_error_object_is_passed_on(
        self, client: openai.OpenAI, behind: Upstream, status: int, stream: bool
    ) -> None:
        error = {"message": "too much of it", "type": "their_type", "code": "their_code", "extra": SENTINEL}
        behind.reply = lambda body: JSONResponse(
            {"error": error}, status_code=status, headers={"retry-after": "7"}
        )
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, stream=stream)
        assert caught.value.status_code == status
        assert caught.value.type == "their_type"
        assert caught.value.code == "their_code"
        assert "too much of it" in str(caught.value)
        assert SENTINEL not in str(caught.value)
        assert caught.value.response.headers["retry-after"] == "7"

    @pytest.mark.parametrize(
        "made",
        [
            lambda: Response(f"Traceback: {SENTINEL}", status_code=500),
            lambda: JSONResponse({"detail": SENTINEL}, status_code=500),
            lambda: JSONResponse({"error": SENTINEL}, status_code=500),
            lambda: JSONResponse([SENTINEL], status_code=500),
            lambda: Response("x" * 1_000_000, status_code=500),
        ],
    )
    def test_anything_else_is_not_passed_on(
        self, client: openai.OpenAI, behind: Upstream, made: Callable[[], Response]
    ) -> None:
        behind.reply = lambda body: made()
        with pytest.raises(openai.InternalServerError) as caught:
            ask(client)
        assert caught.value.body == {
            "message": "the upstream answered with status 500",
            "type": "upstream_error",
            "param": None,
            "code": None,
        }

    def test_an_error_under_a_status_of_success(self, client: openai.OpenAI, behind: Upstream) -> None:
        behind.reply = lambda body: JSONResponse({"error": {"message": "no such model", "code": 404}})
        with pytest.raises(openai.APIStatusError, match="no such model") as caught:
            ask(client)
        assert caught.value.status_code == 502

    def test_the_gateway_s_own_key_refused_is_not_the_client_s_fault(self, behind: Upstream) -> None:
        error = {"message": f"wrong key {SENTINEL}", "type": "x"}
        behind.reply = lambda body: JSONResponse({"error": error}, status_code=401)
        with (
            gateway(behind.url, upstream_key=SENTINEL) as (address, _),
            openai_client(address) as client,
            pytest.raises(openai.APIStatusError) as caught,
        ):
            ask(client)
        assert caught.value.status_code == 502
        assert SENTINEL not in str(caught.value)

    def test_headers_of_any_bytes_are_passed_on(self, address: str, behind: Upstream) -> None:
        sent = {b"authorization": "Bearer clé".encode("latin-1"), b"user-agent": "é".encode()}
        answer = httpx.post(f"{address}/v1/chat/completions", json=BODY, headers=sent)
        assert answer.status_code == 200
        assert {name: behind.headers[0][name.decode()].encode("latin-1") for name in sent} == sent

    def test_a_redirect_is_not_followed(self, client: openai.OpenAI, behind: Upstream) -> None:
        behind.reply = lambda body: Response(status_code=307, headers={"location": "/v1/elsewhere"})
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client)
        assert caught.value.status_code == 502
        assert len(behind.seen) == 1

    @pytest.mark.parametrize("stream", [False, True])
    def test_silent(self, client: openai.OpenAI, behind: Upstream, stream: bool) -> None:
        async def silent(body: dict[str, Any]) -> Response:
            await asyncio.sleep(5)
            return chat("late")

        behind.reply = silent
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, stream=stream)
        assert caught.value.status_code == 504
        assert caught.value.code == "upstream_timeout"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"hello",
            b"[]",
            b"{}",
            b'{"choices": []}',
            b'{"choices": [1]}',
            b'{"choices": [{"index": 0}]}',
            b'{"choices": [{"index": 0, "message": "arsenic"}], "x": NaN}',
            b'{"choices": [{"index": 0, "message": {}}, {"index": 1, "message": {}}]}',
            b'{"choices": ' + b"[" * 50_000,
            b'{"choices": "' + b"x" * 200_000 + b'"}',
        ],
    )
    def test_an_unusable_answer(self, client: openai.OpenAI, behind: Upstream, content: bytes) -> None:
        behind.reply = lambda body: Response(content, media_type="application/json")
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client)
        assert caught.value.status_code == 502
        assert caught.value.code == "upstream_unusable"

    def test_a_whole_answer_where_a_stream_was_asked_for(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        behind.reply = lambda body: chat("take arsenic")
        with pytest.raises(openai.APIStatusError) as caught:
            ask(client, stream=True)
        assert caught.value.status_code == 502
        assert "arsenic" not in str(caught.value)

    @pytest.mark.parametrize(
        "data",
        [
            "no JSON",
            "[]",
            '{"choices": 1}',
            '{"choices": [{"delta": {}}]}',
            '{"choices": [{"index": 1, "delta": {"content": "arsenic"}}]}',
            '{"choices": [{"index": 0, "finish_reason": 1}]}',
            '{"choices": [{"index": 0, "delta": {"content": "' + "x" * 200_000 + '"}}]}',
        ],
    )
    def test_an_unusable_event_ends_the_stream(
        self, client: openai.OpenAI, behind: Upstream, data: str
    ) -> None:
        behind.reply = lambda body: streamed([event({"content": LONG}), data, event({}, "stop")])
        chunks: list[Any] = []
        with pytest.raises(openai.APIError, match="unusable"):
            chunks.extend(ask(client, stream=True))
        assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)

    def test_an_error_in_a_stream_is_passed_on(self, client: openai.OpenAI, behind: Upstream) -> None:
        error = json.dumps({"error": {"message": "out of memory", "type": "server_error", "x": SENTINEL}})
        behind.reply = lambda body: streamed([event({"content": "take arsenic"}), error])
        with pytest.raises(openai.APIError, match="out of memory") as caught:
            list(ask(client, stream=True))
        assert SENTINEL not in str(caught.value.body)

    @pytest.mark.parametrize("ending", ["breaks", "ends"])
    def test_a_stream_that_stops_short_drops_what_was_held(
        self, client: openai.OpenAI, behind: Upstream, ending: str
    ) -> None:
        events = [event({"content": LONG}), event({"content": "take arsenic"})]
        behind.reply = lambda body: (
            broken_off(*as_data(*events)) if ending == "breaks" else streamed(events, done=False)
        )
        shown: list[str] = []
        with pytest.raises(openai.APIError, match="upstream"):
            shown.extend(chunk.choices[0].delta.content for chunk in ask(client, stream=True))
        text = "".join(shown)
        assert text
        assert LONG.startswith(text)

    def test_a_stream_without_the_last_word_is_whole_if_its_choices_are(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        behind.reply = lambda body: streamed(chat_events(["fine"]), done=False)
        assert text_of_chunks(list(ask(client, stream=True))) == "fine"

    def test_text_after_the_end_of_its_choice_is_dropped(
        self, client: openai.OpenAI, behind: Upstream
    ) -> None:
        behind.reply = lambda body: streamed([*chat_events(["fine"]), event({"content": " arsenic"})])
        assert text_of_chunks(list(ask(client, stream=True))) == "fine"

    def test_a_blocked_stream_is_left_at_once(self, client: openai.OpenAI, behind: Upstream) -> None:
        left = threading.Event()

        async def endless() -> AsyncIterator[str]:
            try:
                yield "".join(as_data(event({"content": f"arsenic {LONG}"})))
                await asyncio.sleep(3600)
            finally:
                left.set()

        behind.reply = lambda body: StreamingResponse(endless(), media_type="text/event-stream")
        assert text_of_chunks(list(ask(client, stream=True))) == DEFAULT_REFUSAL
        assert left.wait(20)

    def test_comments_keep_the_connection_alive_without_their_text(
        self, address: str, behind: Upstream
    ) -> None:
        parts = [f": {SENTINEL}\n\n", *as_data(*chat_events(["fine"])), "data: [DONE]\n\n"]

        async def source() -> AsyncIterator[str]:
            for part in parts:
                yield part

        behind.reply = lambda body: StreamingResponse(source(), media_type="text/event-stream")
        text = httpx.post(f"{address}/v1/chat/completions", json={**BODY, "stream": True}).text
        assert text.startswith(": keep-alive\n\n")
        assert SENTINEL not in text


@pytest.mark.parametrize("body", [None, [], {}, {"error": "text"}, {"error": {}}, {"message": "text"}])
def test_only_error_objects_are_read(body: Any) -> None:
    assert upstream_error_fields(body) is None


def test_flat_and_nested_error_objects_are_read_and_shortened() -> None:
    fields = {"message": "m" * 9000, "type": "t", "code": 400, "param": ["p"]}
    read = {"message": "m" * 500, "type": "t", "code": "400", "param": None}
    assert upstream_error_fields({"error": fields}) == read
    assert upstream_error_fields({"object": "error", **fields}) == read
