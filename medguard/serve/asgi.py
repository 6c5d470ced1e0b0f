"""What surrounds every request: its id, the token, the size limit, errors without text, the count."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any, Final, TypeVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medguard.observe import request_id
from medguard.serve.faults import ClientGoneError, GatewayError
from medguard.serve.metrics import PrometheusObserver
from medguard.serve.settings import Settings
from medguard.serve.wire import encode

__all__ = ["EventStream", "Surroundings", "error_response", "unless_gone"]

logger = logging.getLogger("medguard.serve")

T = TypeVar("T")

_REQUEST_ID: Final = re.compile(r"[\w.:-]{1,128}", re.ASCII)
_OPEN_PATHS: Final = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
_CLIENT_GONE: Final = 499


class Surroundings:
    """ASGI middleware around the whole gateway."""

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: PrometheusObserver) -> None:
        """Surround `app`."""
        self._app = app
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        started = time.perf_counter()
        status = _CLIENT_GONE

        async def noted_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        token = request_id.set(name)
        try:
            refused = self._refusal(scope, headers)
            if refused is not None:
                await error_response(refused)(scope, receive, noted_send)
            else:
                await self._app(scope, self._limited(receive), noted_send)
        except ClientGoneError:
            status = _CLIENT_GONE
        except Exception as error:  # noqa: BLE001 - by type alone: a message may quote the text
            logger.error("request %s failed with %s", name, type(error).__name__)  # noqa: TRY400
            if status == _CLIENT_GONE:
                fault = GatewayError(500, "internal error of the gateway", type="server_error")
                await error_response(fault)(scope, receive, noted_send)
        finally:
            request_id.reset(token)
            # The route's pattern, never the path, which anyone chooses.
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.count_request(route, status)
            took_ms = (time.perf_counter() - started) * 1000.0
            logger.info("%s %s %d in %.0f ms, request %s", scope["method"], route, status, took_ms, name)

    def _refusal(self, scope: Scope, headers: Headers) -> GatewayError | None:
        if self._settings.token is not None and scope["path"] not in _OPEN_PATHS:
            kind, _, shown = headers.get("authorization", "").partition(" ")
            is_right = secrets.compare_digest(shown.strip().encode(), self._settings.token.encode())
            if kind.lower() != "bearer" or not is_right:
                return GatewayError(
                    401,
                    "this gateway asks for its own bearer token",
                    type="invalid_request_error",
                    code="invalid_api_key",
                    headers={"www-authenticate": "Bearer"},
                )
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._settings.max_request_bytes:
            return _too_large(self._settings.max_request_bytes)
        return None

    def _limited(self, receive: Receive) -> Receive:
        """Count what comes without a length told beforehand."""
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._settings.max_request_bytes:
                raise _too_large(self._settings.max_request_bytes)
            return message

        return limited


class EventStream(Response):
    """A response sent event by event; its source ends when the client goes away or stops reading."""

    media_type = "text/event-stream"

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        *,
        write_timeout_s: float,
        headers: Mapping[str, str] | None = None,
        resources: contextlib.AsyncExitStack | None = None,
    ) -> None:
        """Prepare to send what `source` gives.

        Args:
            source: Gives the bytes; closed at the end, however it comes.
            write_timeout_s: Longest wait for the client to take the next part, in seconds.
            headers: Headers besides those of every stream.
            resources: What `source` needs; closed after it.
        """
        self.resources = contextlib.AsyncExitStack() if resources is None else resources
        self.source = source
        self.write_timeout_s = write_timeout_s
        self.status_code = 200
        self.background = None
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events.

        Raises:
            ClientGoneError: The client did not wait for the end.
        """
        async with self.resources, contextlib.aclosing(self.source):
            await _unless(_gone(receive), self._send(send))

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        try:
            await send(start)
            async for part in self.source:
                async with asyncio.timeout(self.write_timeout_s):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            logger.warning("request %s: the client stopped reading", request_id.get())
            raise ClientGoneError("the client stopped reading") from None


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do `work`, whose request's body has been read, and cancel it when the client goes away.

    Raises:
        ClientGoneError: The client went away.
    """
    return await _unless(_gone(request.receive), work)


def error_response(error: GatewayError) -> Response:
    """Make the response for an error."""
    return Response(
        encode(error.body), status_code=error.status, media_type="application/json", headers=error.headers
    )


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _unless(gone: Coroutine[Any, Any, None], work: Coroutine[Any, Any, T]) -> T:
    watching, working = asyncio.create_task(gone), asyncio.create_task(work)
    try:
        await asyncio.wait({watching, working}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError("the client went away")
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.gather(watching, working, return_exceptions=True)


def _too_large(limit: int) -> GatewayError:
    return GatewayError(
        413,
        f"the request is longer than {limit} bytes",
        type="invalid_request_error",
        code="request_too_large",
        headers={"connection": "close"},
    )
