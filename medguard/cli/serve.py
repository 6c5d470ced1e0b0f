"""``medguard serve``: the gateway in front of an OpenAI-compatible server."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medguard.cli.shared import BundleOption, fail, load_classifier, one_line_errors, say
from medguard.errors import ProviderError

if TYPE_CHECKING:
    import uvicorn

__all__ = ["serve"]


def serve(
    upstream: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Base URL of the server to guard, such as http://localhost:8080/v1."
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Policy in YAML, read again when it changes; else the default policy."
        ),
    ] = None,
    bundle: BundleOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MEDGUARD_TOKEN", show_default=False, help="Bearer token that clients must show."
        ),
    ] = None,
    upstream_key: Annotated[
        str | None,
        typer.Option(
            envvar="MEDGUARD_UPSTREAM_KEY",
            show_default=False,
            help="Key for the server. Without it and without --token, the clients' own keys are passed on.",
        ),
    ] = None,
    max_request_mib: Annotated[int, typer.Option(min=1, help="Longest request, in MiB.")] = 20,
    read_timeout_s: Annotated[
        float, typer.Option(min=0.001, help="Longest silence of the server, in seconds.")
    ] = 600.0,
    drain_s: Annotated[
        int,
        typer.Option(min=0, help="Time for open requests to end when the gateway is stopped, in seconds."),
    ] = 30,
    audit_log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Log of all judgements, in JSON lines.")
    ] = None,
) -> None:
    """Guard an OpenAI-compatible server: clients use this address in place of the server's.

    SIGTERM lets open requests end; SIGHUP reads the policy again at once. Keys belong in the environment
    (MEDGUARD_TOKEN, MEDGUARD_UPSTREAM_KEY) rather than on a command line.
    """
    with one_line_errors():
        uvicorn = _import_uvicorn()
        from medguard.audit import AuditLog
        from medguard.serve import Settings, create_app
        from medguard.serve.metrics import PrometheusObserver
        from medguard.telemetry import TelemetryObserver

        try:
            settings = Settings(
                upstream=upstream,
                upstream_key=upstream_key,
                token=token,
                max_request_bytes=max_request_mib * 1024 * 1024,
                read_timeout_s=read_timeout_s,
            )
        except ValueError as error:
            fail(str(error))
        metrics = PrometheusObserver()
        observers: list[Any] = [TelemetryObserver()]
        if audit_log is not None:
            audit = AuditLog(audit_log)
            metrics.watch_audit(audit)
            observers.append(audit)
        app = create_app(
            settings,
            policy=policy,
            classifier=load_classifier(bundle),
            observers=observers,
            metrics=metrics,
        )
        _log_to_stderr()
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            # The gateway logs requests itself, without what clients put into paths.
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=drain_s,
        )
        _run(uvicorn.Server(config), host, port)


def _run(server: uvicorn.Server, host: str, port: int) -> None:
    try:
        server.run()
    except SystemExit:
        if server.started:
            raise
        fail(f"cannot listen on {host} port {port}")
    say("stopped")


def _log_to_stderr() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    for name in ("medguard", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)


def _import_uvicorn() -> Any:
    """Import the server.

    Raises:
        ProviderError: Something of the extra is not installed.
    """
    try:
        import fastapi  # noqa: F401 - to name the extra for each of its parts
        import httpx  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ProviderError(f"the gateway needs {error.name}: pip install 'medguard[serve]'") from error
    return uvicorn
