"""The gateway's routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncIterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from medguard import __version__
from medguard.batching import BatchingScorer
from medguard.classifier import Classifier, Scorer
from medguard.observe import Observer
from medguard.policy import Policy
from medguard.serve.asgi import Surroundings, error_response, unless_gone
from medguard.serve.faults import GatewayError, bad_request
from medguard.serve.gateway import Gateway, json_response
from medguard.serve.metrics import PrometheusObserver
from medguard.serve.moderation import CheckRequest, check, moderate
from medguard.serve.openai_api import Chat, Completions, Dialect
from medguard.serve.reload import PolicySource
from medguard.serve.responses_api import Responses
from medguard.serve.settings import Settings

__all__ = ["create_app"]

logger = logging.getLogger("medguard.serve")

_PROBE_EVERY_S: Final = 5.0
_PROBE_TEXT: Final = "What is a normal resting heart rate?"


def create_app(
    upstream: str | Settings,
    *,
    policy: Policy | str | Path | None = None,
    classifier: Scorer | None = None,
    observers: Sequence[Observer] = (),
    metrics: PrometheusObserver | None = None,
) -> FastAPI:
    """Make the gateway.

    Args:
        upstream: Base URL of an OpenAI-compatible server, or all settings.
        policy: The policy, or a file that holds it and is read again when it changes; None for the default.
        classifier: The classifier; None loads the bundled one. Concurrent checks are scored together.
        observers: Told of every judgement.
        metrics: What ``/metrics`` shows, where the caller wants to watch more with it.

    Returns:
        An ASGI application, to be run once and by one process (``uvicorn``).

    Raises:
        ValueError: A setting is wrong.
        MedGuardError: The policy is wrong, or the classifier cannot be loaded.
    """
    settings = upstream if isinstance(upstream, Settings) else Settings(upstream=upstream)
    metrics = PrometheusObserver() if metrics is None else metrics
    scorer = BatchingScorer(Classifier.load() if classifier is None else classifier)
    gateway = Gateway(
        settings=settings,
        policies=PolicySource(
            Path(policy) if isinstance(policy, str) else policy,
            classifier=scorer,
            observers=[metrics, *observers],
        ),
        scorer=scorer,
        metrics=metrics,
    )
    app = FastAPI(
        title="MedGuard gateway",
        version=__version__,
        description="An OpenAI-compatible server that checks requests and answers on their way.",
        lifespan=lambda _: _running(gateway),
        redirect_slashes=False,
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.add_middleware(Surroundings, settings=settings, metrics=metrics)
    app.add_exception_handler(GatewayError, _on_gateway_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    _add_openai_routes(app, gateway)
    _add_own_routes(app, gateway)
    _add_probes(app, gateway)
    return app


@contextlib.asynccontextmanager
async def _running(gateway: Gateway) -> AsyncIterator[None]:
    woken = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ValueError, RuntimeError, NotImplementedError, AttributeError):
        # Only in a process's main thread, and not on Windows; the file is looked at in any case.
        loop.add_signal_handler(signal.SIGHUP, woken.set)
    watching = asyncio.create_task(gateway.policies.watch(gateway.settings.reload_s, woken))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        with contextlib.suppress(ValueError, RuntimeError, NotImplementedError, AttributeError):
            loop.remove_signal_handler(signal.SIGHUP)
        await gateway.aclose()


def _add_openai_routes(app: FastAPI, gateway: Gateway) -> None:
    def add(dialect: Dialect, summary: str) -> None:
        async def endpoint(request: Request) -> Response:
            return await gateway.answer(request, dialect)

        app.add_api_route(
            f"/v1{dialect.path}",
            endpoint,
            methods=["POST"],
            summary=summary,
            tags=["OpenAI"],
            openapi_extra=_any_body("As OpenAI documents it."),
        )

    add(Chat(), "Chat completions, streamed or not")
    add(Completions(), "Completions, streamed or not")
    add(Responses(), "Responses, not streamed")

    @app.get("/v1/models", summary="Models of the upstream", tags=["OpenAI"])
    @app.get("/v1/models/{model:path}", summary="One model of the upstream", tags=["OpenAI"])
    async def models(request: Request) -> Response:
        model = str(request.path_params.get("model", ""))
        if any(part in ("", ".", "..") for part in model.split("/")) and model:
            raise _not_found()
        path = f"/models/{quote(model, safe='/:')}" if model else "/models"
        body, headers = await unless_gone(request, gateway.upstream.ask(path, None, dict(request.headers)))
        return json_response(body, headers=headers)

    @app.post(
        "/v1/moderations",
        summary="Moderations by MedGuard itself",
        tags=["OpenAI"],
        openapi_extra=_any_body("As OpenAI documents it: `input` is a text, texts, or parts."),
    )
    async def moderations(request: Request) -> Response:
        body = await gateway.read(request)
        checker = gateway.policies.checker
        return json_response(await unless_gone(request, gateway.in_thread(moderate, checker, body)))


def _add_own_routes(app: FastAPI, gateway: Gateway) -> None:
    @app.post(
        "/medguard/check",
        summary="Judge a request, and an answer to it",
        tags=["MedGuard"],
        openapi_extra=_json_body(CheckRequest.model_json_schema()),
    )
    async def medguard_check(request: Request) -> Response:
        try:
            asked = CheckRequest.model_validate(await gateway.read(request))
        except ValidationError as error:
            # A field that does not exist is not named: its name may be text.
            wrong = "; ".join(
                f"{item['loc'][0] if item['loc'][0] in CheckRequest.model_fields else 'body'}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False)
            )
            raise bad_request(wrong) from None
        checker = gateway.policies.checker
        return json_response(await unless_gone(request, gateway.in_thread(check, checker, asked)))

    @app.get("/medguard/stats", summary="What the page shows", tags=["MedGuard"])
    async def stats() -> Response:
        return json_response(gateway.metrics.stats())

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return HTMLResponse(files("medguard.serve").joinpath("page.html").read_text(encoding="utf-8"))


def _add_probes(app: FastAPI, gateway: Gateway) -> None:
    probe = _Readiness(gateway)

    @app.get("/healthz", summary="Whether the gateway runs", tags=["Operation"])
    async def healthz() -> Response:
        return json_response({"status": "ok"})

    @app.get("/readyz", summary="Whether requests can be answered", tags=["Operation"])
    async def readyz() -> Response:
        found = await probe.look()
        return json_response(found, status=200 if found["ready"] else 503)

    @app.get("/metrics", summary="Metrics for Prometheus", tags=["Operation"])
    async def metrics() -> Response:
        gateway.metrics.set_queue_depth(gateway.scorer.waiting)
        return Response(gateway.metrics.exposition(), media_type=gateway.metrics.content_type)


class _Readiness:
    """Looks whether classifier and upstream work; at most once in a while, however often it is asked."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._lock = asyncio.Lock()
        self._looked = -float("inf")
        self._works = (False, False)

    async def look(self) -> dict[str, Any]:
        async with self._lock:
            if time.monotonic() - self._looked > _PROBE_EVERY_S:
                self._works = (await self._scores(), await self._gateway.upstream.is_reachable())
                self._looked = time.monotonic()
        classifier, upstream = self._works
        return {
            "ready": classifier and upstream,
            "classifier": self._gateway.scorer.id if classifier else None,
            "upstream_reachable": upstream,
            # A file that is wrong leaves the old policy in force, under which the gateway works on.
            "policy_error": self._gateway.policies.error,
        }

    async def _scores(self) -> bool:
        try:
            await self._gateway.in_thread(self._gateway.scorer.score_many, [_PROBE_TEXT])
        except Exception as error:  # noqa: BLE001 - whatever it is, the classifier does not work
            logger.error("the classifier does not work: %s", type(error).__name__)  # noqa: TRY400
            return False
        return True


async def _on_gateway_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, GatewayError):
        raise error
    return error_response(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return error_response(_not_found())
    return error_response(
        GatewayError(
            error.status_code,
            "this path takes another method" if error.status_code == 405 else "the request is wrong",
            type="invalid_request_error",
            headers=error.headers,
        )
    )


def _not_found() -> GatewayError:
    return GatewayError(
        404,
        "this gateway has no such path; what it does not check it does not pass on",
        type="invalid_request_error",
        code="unknown_url",
    )


def _any_body(description: str) -> dict[str, Any]:
    return _json_body({"type": "object", "description": description, "additionalProperties": True})


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
