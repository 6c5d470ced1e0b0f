"""The course of one request through the gateway: judge it, ask the upstream, judge the answer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from medguard.batching import BatchingScorer
from medguard.checker import Checker
from medguard.observe import request_id
from medguard.serve.asgi import EventStream, unless_gone
from medguard.serve.faults import GatewayError, bad_request, error_body
from medguard.serve.judging import Asked, judge_answer, judge_request, judge_responses, note
from medguard.serve.metrics import PrometheusObserver
from medguard.serve.openai_api import MODEL_REFUSED, Call, Dialect
from medguard.serve.reload import PolicySource
from medguard.serve.settings import Settings
from medguard.serve.sse import COMMENT, DONE, format_event
from medguard.serve.streams import StreamGuard, Task, guarded
from medguard.serve.upstream import Upstream, UpstreamStream
from medguard.serve.wire import encode, read_object
from medguard.verdict import Verdict

__all__ = ["Gateway", "json_response"]

logger = logging.getLogger("medguard.serve")

P = ParamSpec("P")
T = TypeVar("T")


class Gateway:
    """What the routes share."""

    def __init__(
        self,
        *,
        settings: Settings,
        policies: PolicySource,
        scorer: BatchingScorer,
        metrics: PrometheusObserver,
    ) -> None:
        """Join the parts; nothing is started yet."""
        self.settings = settings
        self.policies = policies
        self.scorer = scorer
        self.metrics = metrics
        self.upstream = Upstream(settings)
        self._threads = ThreadPoolExecutor(settings.check_threads, thread_name_prefix="medguard-check")

    async def aclose(self) -> None:
        """Close the connections to the upstream and end the threads; checks that wait are done first."""
        await self.upstream.aclose()
        await asyncio.to_thread(self.scorer.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in a thread, under the request's context variables."""
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(work, *args, **kwargs)
        )

    async def read(self, request: Request) -> dict[str, Any]:
        """Read the body of a request.

        Raises:
            GatewayError: It is too long, or no JSON object.
        """
        try:
            return read_object(await request.body())
        except ValueError as error:
            raise bad_request(str(error), code="invalid_json") from None

    async def answer(self, request: Request, dialect: Dialect) -> Response:
        """Answer a request to one of OpenAI's endpoints.

        Raises:
            GatewayError: The request cannot be read, the upstream failed, or the guard did under ``on_error:
                raise``.
            ClientGoneError: The client went away.
        """
        body = await self.read(request)
        return await unless_gone(request, self._answer(request, dialect, body))

    async def _answer(self, request: Request, dialect: Dialect, body: dict[str, Any]) -> Response:
        checker = self.policies.checker
        try:
            call = dialect.read(body)
        except RecursionError:
            raise bad_request("the request is nested too deeply") from None
        asked = await self.in_thread(judge_request, checker, dialect, call)
        if not asked.verdict.allowed:
            return self._refused(dialect, call, asked, checker.policy.refusal_for(asked.verdict))
        headers = {**request.headers, "x-request-id": request_id.get() or ""}
        if call.stream:
            return await self._stream(checker, dialect, call, asked, headers)
        answer, passed = await self.upstream.ask(dialect.path, asked.forwarded, headers)
        try:
            answer, verdicts = await self.in_thread(judge_answer, checker, dialect, call, asked, answer)
        except (ValueError, RecursionError) as error:
            why = str(error) if isinstance(error, ValueError) else "it is nested too deeply"
            raise GatewayError(
                502,
                f"the upstream's answer is unusable: {why}",
                type="upstream_error",
                code="upstream_unusable",
            ) from None
        return json_response({**answer, "medguard": note(asked.verdict, verdicts)}, headers=passed)

    def _refused(self, dialect: Dialect, call: Call, asked: Asked, refusal: str) -> Response:
        """Answer in the upstream's place."""
        whole = dialect.refuse(call, refusal)
        told = {"medguard": note(asked.verdict)}
        if not call.stream:
            return json_response({**whole, **told})
        events: list[dict[str, Any]] = []
        for choice in range(call.choices):
            events.append(dialect.chunk(whole, choice, refusal, None))
            events.append({**dialect.chunk(whole, choice, "", MODEL_REFUSED), **told})
        if call.include_usage:
            usage = {"usage": whole["usage"], "choices": []}
            events.append({**dialect.chunk(whole, 0, "", None), **usage})

        async def source() -> AsyncGenerator[bytes, None]:
            for event in events:
                yield format_event(event)
            yield format_event(DONE)

        return EventStream(source(), write_timeout_s=self.settings.write_timeout_s)

    async def _stream(
        self, checker: Checker, dialect: Dialect, call: Call, asked: Asked, headers: dict[str, str]
    ) -> EventStream:
        """Ask the upstream for a stream; once it has begun, errors come as events."""
        async with contextlib.AsyncExitStack() as stack:
            opened = await stack.enter_async_context(
                self.upstream.stream(dialect.path, asked.forwarded, headers)
            )
            return EventStream(
                self._events(checker, StreamGuard(dialect, call, asked, checker.policy), opened),
                write_timeout_s=self.settings.write_timeout_s,
                headers=opened.headers,
                # Not left to the generator, which may never be started.
                resources=stack.pop_all(),
            )

    async def _events(
        self, checker: Checker, guard: StreamGuard, opened: UpstreamStream
    ) -> AsyncGenerator[bytes, None]:
        async def judge(tasks: Sequence[Task]) -> list[Verdict]:
            if not tasks:
                return []
            prompts, texts = [task.prompt for task in tasks], [task.window.text for task in tasks]
            return await self.in_thread(judge_responses, checker, prompts, texts)

        try:
            async with contextlib.aclosing(guarded(opened, guard, judge)) as events:
                async for event in events:
                    yield COMMENT if event is None else format_event(event)
            yield format_event(DONE)
        except GatewayError as error:
            yield format_event(error.body)
        except (ValueError, RecursionError):
            message = "the upstream's stream is unusable"
            yield format_event(error_body(message, type="upstream_error", code="upstream_unusable"))


def json_response(
    body: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Make a response of JSON."""
    return Response(encode(body), status_code=status, media_type="application/json", headers=headers)
