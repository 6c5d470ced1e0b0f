"""`TelemetryObserver`: spans and metrics of every judgement by OpenTelemetry, where its API is installed.

Spans and attributes hold decisions, scores and lengths; never a text nor its hash.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from medguard.observe import Observation, error_type

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["TelemetryObserver"]

logger = logging.getLogger(__name__)


class TelemetryObserver:
    """Makes one span ``medguard.check`` per judgement, a child of the current span, and these metrics.

    - ``medguard.checks``: counter by ``medguard.stage``, ``medguard.outcome``, ``medguard.action`` and
      ``medguard.category`` (``principle_1`` to ``principle_9``, ``general_harm`` or ``none``).
    - ``medguard.check.latency``: histogram in milliseconds by ``medguard.stage``.
    - ``medguard.errors``: counter by ``medguard.stage`` and ``error.type``.

    Spans are made when the check is over, with the times at which it began and ended; texts judged in one
    call share these. Where the API (``medguard[otel]``) is not installed nothing is recorded.
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
    ) -> None:
        """Choose where spans and metrics go; by default to the providers that the application set."""
        self.enabled = False
        """Whether anything is recorded: whether OpenTelemetry's API is installed."""
        try:
            from opentelemetry import metrics, trace
        except ImportError:
            logger.info(
                "OpenTelemetry is not installed and nothing is recorded: pip install 'medguard[otel]'"
            )
            return
        self.enabled = True
        self._tracer = trace.get_tracer("medguard", tracer_provider=tracer_provider)
        self._failed = trace.StatusCode.ERROR
        meter = metrics.get_meter("medguard", meter_provider=meter_provider)
        self._checks = meter.create_counter(
            "medguard.checks", unit="{check}", description="Texts judged, by what was decided."
        )
        # In milliseconds, for which OpenTelemetry's default buckets are made.
        self._latency = meter.create_histogram(
            "medguard.check.latency", unit="ms", description="Time in the guard for one text."
        )
        self._errors = meter.create_counter(
            "medguard.errors", unit="{error}", description="Texts that the guard failed to judge."
        )

    def observe(self, observation: Observation) -> None:
        """Record one judgement."""
        if not self.enabled:
            return
        verdict = observation.verdict
        stage = {"medguard.stage": verdict.stage.value}
        decision = {
            **stage,
            "medguard.outcome": verdict.outcome.value,
            "medguard.action": verdict.action.value,
            "medguard.category": verdict.category or "none",
        }
        error = error_type(verdict)
        self._checks.add(1, decision)
        self._latency.record(verdict.latency_ms, stage)
        if error is not None:
            self._errors.add(1, {**stage, "error.type": error})
        span = self._tracer.start_span(
            "medguard.check",
            attributes={**decision, **_details(observation)},
            start_time=observation.started_unix_ns or None,
        )
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(self._failed, error)
        span.end(observation.ended_unix_ns or None)


def _details(observation: Observation) -> dict[str, Any]:
    """What a span says besides the decision; what is unknown is left out, for attributes cannot be None."""
    verdict = observation.verdict
    details = {
        "medguard.allowed": verdict.allowed,
        "medguard.score": verdict.score,
        "medguard.threshold": verdict.threshold,
        "medguard.principle": verdict.principle,
        "medguard.operating_point": verdict.operating_point,
        "medguard.language": verdict.language,
        "medguard.classifier_id": verdict.classifier_id,
        "medguard.latency_ms": verdict.latency_ms,
        "medguard.text_chars": observation.text_chars,
        "medguard.request_id": observation.request_id,
    }
    return {name: value for name, value in details.items() if value is not None}
