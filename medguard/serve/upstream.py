"""The upstream over httpx: what it says, or an error that quotes nothing unchecked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, Final

import httpx

from medguard.serve.faults import GatewayError, upstream_error_fields
from medguard.serve.settings import Settings
from medguard.serve.sse import DONE, EventReader
from medguard.serve.wire import encode, read_object

__all__ = ["Upstream", "UpstreamStream", "passed_headers"]

_TO_UPSTREAM: Final = (
    "openai-organization",
    "openai-project",
    "openai-beta",
    "idempotency-key",
    "user-agent",
    "x-request-id",
    "traceparent",
    "tracestate",
)
_TO_CLIENT: Final = ("retry-after", "retry-after-ms", "x-should-retry")
_TO_CLIENT_PREFIXES: Final = ("openai-", "x-ratelimit-")
_PROBE_TIMEOUT_S: Final = 3.0
_MAX_ERROR_BYTES: Final = 64 * 1024


class UpstreamStream:
    """A streamed answer, event by event."""

    def __init__(self, response: httpx.Response, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self.headers = passed_headers(response.headers)
        self.is_done = False
        """Whether the upstream has said that all is said."""

    async def events(self) -> AsyncGenerator[dict[str, Any] | None, None]:
        """Yield events, and None for each comment.

        Raises:
            GatewayError: The upstream went silent or away, reports an error, or sends what is no event.
        """
        reader = EventReader(self._max_bytes)
        with _translated():
            async for part in self._response.aiter_bytes():
                for data in _understood(reader, part):
                    if data == DONE:
                        self.is_done = True
                        return
                    yield None if data is None else _event(data)


class Upstream:
    """The server that the gateway stands in front of."""

    def __init__(self, settings: Settings) -> None:
        """Prepare connections; none is opened yet."""
        self._settings = settings
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(
                settings.read_timeout_s, connect=settings.connect_timeout_s, pool=settings.connect_timeout_s
            ),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=256),
            headers={"accept-encoding": "identity"},
        )

    async def ask(
        self, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Send a request (GET where there is no body) and return the answer with headers to pass on.

        Raises:
            GatewayError: There is no answer, it is too long, no JSON object, or an error.
        """
        async with self._opened(path, body, headers) as response:
            content = await self._content(response, self._settings.max_response_bytes)
            try:
                answer = read_object(content)
            except ValueError as error:
                raise _unusable(str(error)) from None
            _raise_reported(answer)
            return answer, passed_headers(response.headers)

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, body: dict[str, Any], headers: Mapping[str, str]
    ) -> AsyncIterator[UpstreamStream]:
        """Send a request and read the answer event by event; leaving ends it at the upstream too.

        Raises:
            GatewayError: There is no answer, or none in events.
        """
        async with self._opened(path, body, headers) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "text/event-stream":
                raise _unusable("it did not stream, as it was asked to")
            yield UpstreamStream(response, self._settings.max_response_bytes)

    async def is_reachable(self) -> bool:
        """Whether the upstream answers at all."""
        try:
            response = await self._client.get(
                f"{self._settings.upstream}/models", headers=self._headers({}), timeout=_PROBE_TIMEOUT_S
            )
        except httpx.HTTPError:
            return False
        return response.status_code < 500

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @contextlib.asynccontextmanager
    async def _opened(
        self, path: str, body: dict[str, Any] | None, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        content = None if body is None else encode(body)
        sent = self._headers(headers)
        if content is not None:
            sent["content-type"] = "application/json"
        request = self._client.build_request(
            "GET" if content is None else "POST",
            self._settings.upstream + path,
            content=content,
            headers=sent,
        )
        with _translated():
            response = await self._client.send(request, stream=True)
        try:
            if not response.is_success:
                raise await self._error(response)
            yield response
        finally:
            await response.aclose()

    def _headers(self, given: Mapping[str, str]) -> httpx.Headers:
        passed = {name: given[name] for name in _TO_UPSTREAM if name in given}
        if self._settings.upstream_key is not None:
            passed["authorization"] = f"Bearer {self._settings.upstream_key}"
        elif self._settings.token is None and "authorization" in given:
            passed["authorization"] = given["authorization"]
        # The encoding in which the client's were read.
        return httpx.Headers(passed, encoding="latin-1")

    async def _content(self, response: httpx.Response, max_bytes: int) -> bytes:
        content = bytearray()
        with _translated():
            async for part in response.aiter_bytes():
                content += part
                if len(content) > max_bytes:
                    raise _unusable("its answer is too long")
        return bytes(content)

    async def _error(self, response: httpx.Response) -> GatewayError:
        """Make the error to pass on: the status, and the message of an error object alone."""
        status = response.status_code
        if status < 400:
            return _unusable(f"it answered with status {status}")
        is_own_key = self._settings.upstream_key is not None or self._settings.token is not None
        if status in (401, 403) and is_own_key:
            return GatewayError(
                502,
                "the upstream refused the gateway's key",
                type="upstream_error",
                code="upstream_key_refused",
            )
        try:
            fields = upstream_error_fields(read_object(await self._content(response, _MAX_ERROR_BYTES)))
        except (ValueError, GatewayError):
            fields = None
        fields = fields or {}
        return GatewayError(
            status,
            fields.get("message") or f"the upstream answered with status {status}",
            type=fields.get("type") or "upstream_error",
            code=fields.get("code"),
            param=fields.get("param"),
            headers=passed_headers(response.headers),
        )


def passed_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the upstream's headers that clients are told; its request id under a name of its own."""
    passed = {
        name: value
        for name, value in headers.items()
        if name.lower() in _TO_CLIENT or name.lower().startswith(_TO_CLIENT_PREFIXES)
    }
    if "x-request-id" in headers:
        passed["x-upstream-request-id"] = headers["x-request-id"]
    return passed


def _event(data: str) -> dict[str, Any]:
    try:
        event = read_object(data)
    except ValueError as error:
        raise _unusable(f"an event of its stream cannot be read: {error}") from None
    _raise_reported(event)
    return event


def _raise_reported(body: dict[str, Any]) -> None:
    """Raise an error that the upstream reports in the place of an answer, under a status of success."""
    if "choices" in body or "output" in body:
        return
    if (fields := upstream_error_fields(body)) is not None:
        raise GatewayError(
            502,
            fields["message"] or "the upstream failed",
            type=fields["type"] or "upstream_error",
            code=fields["code"],
            param=fields["param"],
        )


def _understood(reader: EventReader, part: bytes) -> Iterator[str | None]:
    try:
        yield from reader.feed(part)
    except ValueError as error:
        raise _unusable(
            f"its stream cannot be read: {'no UTF-8' if isinstance(error, UnicodeError) else error}"
        ) from None


def _unusable(why: str) -> GatewayError:
    return GatewayError(
        502, f"the upstream's answer is unusable: {why}", type="upstream_error", code="upstream_unusable"
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turn httpx's errors, whose messages may hold addresses, into the gateway's."""
    try:
        yield
    except httpx.TimeoutException:
        raise GatewayError(
            504, "the upstream did not answer in time", type="upstream_error", code="upstream_timeout"
        ) from None
    except (httpx.ConnectError, httpx.UnsupportedProtocol):
        raise GatewayError(
            502, "the upstream cannot be reached", type="upstream_error", code="upstream_unreachable"
        ) from None
    except (httpx.HTTPError, httpx.StreamError):
        raise GatewayError(
            502, "the connection to the upstream broke", type="upstream_error", code="upstream_disconnected"
        ) from None
