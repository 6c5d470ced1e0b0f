"""Servers of the load test: an upstream that answers at once, and a proxy that only passes on."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

__all__ = ["ANSWER", "MARK", "WORD", "passthrough", "upstream"]

MARK = "UNCHECKED-7F3A"
"""Stands in what the upstream answers to a request that should never reach it."""

ANSWER = (
    "Store unopened insulin in the refrigerator, between 2 and 8 degrees, and never freeze it. A pen in use "
    "keeps for about four weeks at room temperature. Throw it away if it looks cloudy and should be clear, "
    "and ask your pharmacist if you are unsure about the kind that you have."
)

WORD = "cloudy"
"""Stands in the answer, and in nothing that a guard says instead."""

upstream = FastAPI()
passthrough = FastAPI()


def _chunk(content: str | None, finish: str | None = None) -> str:
    delta = {} if content is None else {"role": "assistant", "content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return "data: " + json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}) + "\n\n"


@upstream.get("/v1/models")
async def models() -> dict[str, Any]:
    """List the one model."""
    return {"object": "list", "data": [{"id": "instant", "object": "model"}]}


@upstream.post("/v1/chat/completions", response_model=None)
async def complete(request: Request) -> Response:
    """Answer at once; to anything but the benign question, with the mark."""
    body = await request.json()
    is_benign = "insulin" in str(body["messages"][-1]["content"])
    text = ANSWER if is_benign else f"{MARK} {ANSWER}"
    if body.get("stream"):
        words = [f"{word} " for word in text.split(" ")]
        events = [*map(_chunk, words), _chunk(None, "stop"), "data: [DONE]\n\n"]

        async def stream() -> AsyncIterator[str]:
            for event in events:
                yield event

        return StreamingResponse(stream(), media_type="text/event-stream")
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70}
    return JSONResponse(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "instant",
            "choices": [choice],
            "usage": usage,
        }
    )


_limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
_client = httpx.AsyncClient(limits=_limits, timeout=60)


@passthrough.post("/v1/chat/completions", response_model=None)
async def pass_on(request: Request) -> Response:
    """Send the body on and give back what comes: the least that a proxy of this framework costs."""
    url = f"{os.environ['LOAD_UPSTREAM']}/v1/chat/completions"
    sent = _client.build_request(
        "POST", url, content=await request.body(), headers={"content-type": "application/json"}
    )
    answer = await _client.send(sent, stream=True)

    async def stream() -> AsyncIterator[bytes]:
        async for part in answer.aiter_raw():
            yield part
        await answer.aclose()

    return StreamingResponse(
        stream(), status_code=answer.status_code, media_type=answer.headers["content-type"]
    )
