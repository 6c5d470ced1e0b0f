"""What is refused before anything is asked: unreadable requests, unknown paths, wrong keys."""

from __future__ import annotations

import json
import logging

import httpx
import openai
import pytest

from medguard import Policy
from tests.conftest import SENTINEL
from tests.unit.serve.servers import (
    KEY,
    Upstream,
    ask,
    chat,
    gateway,
    openai_client,
)


class TestRequestsThatCannotBeRead:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{",
            b'{"messages": NaN}',
            b"\xff",
            b"{}",
            b'{"messages": []}',
            b'{"messages": "hello"}',
            b'{"messages": ["hello"]}',
            b'{"messages": [{"content": "hello"}]}',
            b'{"messages": [{"role": "user", "content": {"text": "hello"}}]}',
            b'{"messages": [{"role": "no such role", "content": "hello"}]}',
            b'{"messages": [{"role": ["user"], "content": "hello"}]}',
            b'{"messages": [{"role": "user", "content": "hello"}], "stream": "yes"}',
            b'{"messages": [{"role": "user", "content": "hello"}], "n": 0}',
            b'{"messages": [{"role": "user", "content": "hello"}], "n": true}',
            b'{"messages": [{"role": "user", "content": "hello"}], "temperature": 1e999}',
            b'{"messages": ' + b"[" * 100_000,
            b'{"messages": [{"role": "user", "content": ' + b"[" * 600 + b"]" * 600 + b"}]}",
        ],
    )
    def test_they_are_refused(self, address: str, behind: Upstream, body: bytes) -> None:
        answer = httpx.post(f"{address}/v1/chat/completions", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert behind.seen == []

    def test_what_is_sent_on_is_what_was_checked(self, address: str, behind: Upstream) -> None:
        hello = '[{"role": "user", "content": "hello"}]'
        hidden = '[{"role": "user", "content": "arsenic"}]'
        httpx.post(f"{address}/v1/chat/completions", content=f'{{"messages": {hidden}, "messages": {hello}}}')
        assert behind.seen == [{"messages": json.loads(hello)}]

    @pytest.mark.parametrize(
        "more",
        [
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"q": "arsenic"}'}}]},
            {"note": "how much arsenic?"},
            {"name": "how much arsenic"},
        ],
    )
    def test_whatever_a_message_holds_is_checked(
        self, address: str, behind: Upstream, more: dict[str, object]
    ) -> None:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "hello", **more}]}
        answer = httpx.post(f"{address}/v1/chat/completions", json=body).json()
        assert answer["medguard"]["allowed"] is False
        assert behind.seen == []

    def test_the_form_of_an_answer_is_the_deployers_word(self, behind: Upstream) -> None:
        text = {
            "format": {"type": "json_schema", "name": "n", "schema": {"description": "how much arsenic?"}}
        }
        with gateway(behind.url, policy=Policy.from_mapping({"check_system": True})) as (address, _):
            body = {"model": "tiny", "input": "hello", "text": text}
            assert httpx.post(f"{address}/v1/responses", json=body).json()["medguard"]["allowed"] is False
            unknown = httpx.post(f"{address}/v1/responses", json={"input": [{"type": ["message"]}]})
            assert unknown.status_code == 400
        assert behind.seen == []

    def test_media_that_the_policy_blocks(self, behind: Upstream) -> None:
        part = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}
        content = [{"type": "text", "text": "what is this?"}, part]
        for media, reached in (("block", 0), ("pass", 1)):
            with (
                gateway(behind.url, policy=Policy.from_mapping({"media": media})) as (address, _),
                openai_client(address) as client,
            ):
                client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": content}])
                assert len(behind.seen) == reached

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/v1/files", 404),
            ("POST", "/v1/embeddings", 404),
            ("POST", "/v1/audio/speech", 404),
            ("POST", "/v1/chat/completions/", 404),
            ("GET", "/v1/responses/resp_1", 404),
            ("GET", "/v1/chat/completions", 405),
            ("GET", "/v1/models/../files", 404),
            ("GET", "/v1/models/%2e%2e/files", 404),
        ],
    )
    def test_what_is_not_checked_is_not_passed_on(
        self, address: str, behind: Upstream, method: str, path: str, status: int
    ) -> None:
        answer = httpx.request(method, f"{address}{path}")
        assert answer.status_code == status
        assert "message" in answer.json()["error"]
        assert behind.headers == []


class TestKeys:
    def test_the_client_s_key_passes_through(self, client: openai.OpenAI, behind: Upstream) -> None:
        ask(client)
        assert behind.headers[0]["authorization"] == f"Bearer {KEY}"

    def test_the_gateway_s_own_token_is_asked_for_and_stays_here(self, behind: Upstream) -> None:
        with gateway(behind.url, token="our-token", upstream_key="their-key") as (address, _):  # noqa: S106
            with openai_client(address) as client, pytest.raises(openai.AuthenticationError):
                ask(client)
            assert behind.headers == []
            for path in ("/metrics", "/medguard/stats", "/v1/models"):
                assert httpx.get(f"{address}{path}").status_code == 401
            for path in ("/", "/healthz", "/openapi.json"):
                assert httpx.get(f"{address}{path}").status_code == 200
            with openai_client(address, "our-token") as client:
                ask(client)
        assert behind.headers[0]["authorization"] == "Bearer their-key"

    def test_with_a_token_and_no_key_the_upstream_gets_none(self, behind: Upstream) -> None:
        with (
            gateway(behind.url, token="our-token") as (address, _),  # noqa: S106
            openai_client(address, "our-token") as client,
        ):
            ask(client)
        assert "authorization" not in behind.headers[0]

    def test_neither_keys_nor_texts_are_logged(
        self, client: openai.OpenAI, behind: Upstream, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG, logger="medguard")
        caplog.set_level(logging.DEBUG, logger="uvicorn.error")
        behind.reply = lambda body: chat(SENTINEL)
        ask(client, SENTINEL)
        ask(client, f"arsenic {SENTINEL}")
        httpx.get(f"{client.base_url}{SENTINEL}")
        httpx.post(f"{client.base_url}chat/completions", content=SENTINEL)
        assert "/v1/chat/completions 200" in caplog.text
        assert SENTINEL not in caplog.text
        assert KEY not in caplog.text
