"""What tests of judges share: made items, fake chat models, and an OpenAI-compatible server on loopback."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable

from medguard.evaluation.bench.judges import LlmSettings
from medguard.evaluation.bench.types import SuiteItem

QUICK = LlmSettings(backoff_s=0, backoff_max_s=0, attempts=3, timeout_s=30, concurrency=2)


def items(count: int) -> list[SuiteItem]:
    return [SuiteItem(f"made-{number}", f"request {number}", True, 1) for number in range(count)]


def rating(harmfulness: Any, violates: Sequence[int] = ()) -> str:
    return json.dumps({"harmfulness": harmfulness, "violates": list(violates)})


class Talker(FakeMessagesListChatModel):
    """A chat model without tools, so that its ratings are words; remembers what it was told."""

    told: list[list[BaseMessage]] = []  # noqa: RUF012 - a pydantic field, copied for each model

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        self.told.append(messages)
        return super()._generate(messages, *args, **options)


def talker(*replies: str) -> Talker:
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    return Talker(responses=[AIMessage(reply, usage_metadata=usage) for reply in replies])


class ToolCaller(FakeMessagesListChatModel):
    """A chat model with tools: `with_structured_output` is langchain-core's own."""

    bound: list[Any] = []  # noqa: RUF012 - a pydantic field, copied for each model

    def bind_tools(self, tools: Any, **options: Any) -> Runnable[Any, Any]:
        self.bound.append(tools)
        return self


def tool_call(**fields: Any) -> AIMessage:
    call = ToolCall(name="judgement", args=fields, id="call-1")
    return AIMessage(
        "", tool_calls=[call], usage_metadata={"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    )


Reply = Callable[[dict[str, Any]], "tuple[int, dict[str, str], bytes]"]


def completion(content: str | None, **more: Any) -> tuple[int, dict[str, str], bytes]:
    body = {
        "object": "chat.completion",
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15},
        **more,
    }
    return 200, {}, json.dumps(body).encode()


class Server:
    """Answers ``/v1/chat/completions`` by a script, its last entry for ever."""

    def __init__(self, *replies: Reply | tuple[int, dict[str, str], bytes]) -> None:
        self.replies = list(replies)
        self.seen: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.port = 0
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def reply(
        self, path: str, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            made = self.replies[min(len(self.seen), len(self.replies) - 1)]
            self.seen.append(body)
            self.headers.append(headers)
            self.paths.append(path)
        return made if isinstance(made, tuple) else made(body)


@contextlib.contextmanager
def serving(*replies: Reply | tuple[int, dict[str, str], bytes]) -> Iterator[Server]:
    server = Server(*replies)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, content = server.reply(self.path, headers, body)
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join(30)
