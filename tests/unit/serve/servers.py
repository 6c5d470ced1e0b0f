"""A real upstream on a loopback port, told what to answer, and the gateway in front of it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from medguard import Policy
from medguard.serve import Settings, create_app
from medguard.testing import KeywordScorer

KEY = "sk-test-4711"
NAMES = {"id": "made-upstream", "created": 1_700_000_000, "model": "tiny"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}

Reply = Callable[[dict[str, Any]], Response | Awaitable[Response]]


class Upstream:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply: Reply = reply or (lambda body: chat("a fine answer"))
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def respond(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        if request.method == "GET":
            return JSONResponse({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        self.seen.append(await request.json())
        made = self.reply(self.seen[-1])
        return made if isinstance(made, Response) else await made


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """Serve `app` on a loopback port; the value is its address."""
    config = uvicorn.Config(
        app, port=0, log_config=None, ws="none", access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    ready = threading.Event()
    startup = server.startup

    async def noted_startup(sockets: Any = None) -> None:
        await startup(sockets=sockets)
        ready.set()

    server.startup = noted_startup  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@contextlib.contextmanager
def upstream(reply: Reply | None = None) -> Iterator[Upstream]:
    made = Upstream(reply)
    app = Starlette(routes=[Route("/v1/{rest:path}", made.respond, methods=["GET", "POST"])])
    with running(app) as url:
        made.url = url
        yield made


@contextlib.contextmanager
def gateway(
    url: str, *, policy: Policy | Path | None = None, scorer: Any = None, **settings: Any
) -> Iterator[tuple[str, FastAPI]]:
    app = create_app(
        Settings(upstream=url, **settings),
        policy=policy,
        classifier=KeywordScorer(["arsenic"]) if scorer is None else scorer,
    )
    with running(app) as address:
        yield address, app


@contextlib.contextmanager
def openai_client(address: str, key: str = KEY) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=60) as client:
        yield client


def chat(*texts: str | None, **message: Any) -> JSONResponse:
    """A whole answer of one choice for each text."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, **message},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for index, text in enumerate(texts)
    ]
    return JSONResponse({**NAMES, "object": "chat.completion", "choices": choices, "usage": USAGE})


def event(delta: dict[str, Any], finish: str | None = None, *, index: int = 0, **more: Any) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**NAMES, "object": "chat.completion.chunk", "choices": [choice], **more}


def chat_events(pieces: Sequence[str], *, index: int = 0) -> list[dict[str, Any]]:
    return [
        event({"role": "assistant", "content": ""}, index=index),
        *(event({"content": piece}, index=index) for piece in pieces),
        event({}, "stop", index=index),
    ]


def streamed(events: Sequence[dict[str, Any] | str], *, done: bool = True) -> StreamingResponse:
    """A stream of events; a str is sent as the data of one, as it is."""

    async def source() -> AsyncIterator[str]:
        for item in events:
            yield f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n"
        if done:
            yield "data: [DONE]\n\n"

    return StreamingResponse(source(), media_type="text/event-stream")


def ask(client: openai.OpenAI, text: str = "hello", **options: Any) -> Any:
    return client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": text}], **options
    )


def text_of_chunks(chunks: Sequence[Any], index: int = 0) -> str:
    return "".join(
        choice.delta.content or "" for chunk in chunks for choice in chunk.choices if choice.index == index
    )


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait for what another thread will do; long enough that only a fault fails it."""
    for _ in range(2000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def as_data(*events: dict[str, Any]) -> list[str]:
    return [f"data: {json.dumps(item)}\n\n" for item in events]
