"""`PrometheusObserver`: what the gateway counts, for ``/metrics`` and for its page."""

from __future__ import annotations

import time
from typing import Any, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from medguard.audit import AuditLog
from medguard.observe import Observation, error_type
from medguard.verdict import Action, Outcome, Stage

__all__ = ["PrometheusObserver"]

# From a cached short text to a time-out, in seconds.
_LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class PrometheusObserver:
    """Counts judgements in a registry of its own, so that several gateways can live in one process.

    - ``medguard_checks_total`` by stage, outcome, action and category (``principle_1`` to ``principle_9``,
      ``general_harm`` or ``none``)
    - ``medguard_check_latency_seconds`` (histogram) by stage
    - ``medguard_guard_errors_total`` by stage and type of error
    - ``medguard_requests_total`` by route and status
    - ``medguard_queue_depth``: texts that wait to be scored
    - ``medguard_audit_lost``: judgements that the audit log could not write, once `watch_audit` was called
    - ``process_*``: memory, processor time and open files of the process
    """

    content_type: Final[str] = CONTENT_TYPE_LATEST
    """Media type of `exposition`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._started = time.monotonic()
        ProcessCollector(registry=self.registry)
        self._checks = Counter(
            "medguard_checks",
            "Texts judged, by what was found and done.",
            ("stage", "outcome", "action", "category"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "medguard_check_latency_seconds",
            "Time in the guard for one text.",
            ("stage",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._errors = Counter(
            "medguard_guard_errors",
            "Texts that the guard failed to judge.",
            ("stage", "type"),
            registry=self.registry,
        )
        self._requests = Counter(
            "medguard_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._queue = Gauge("medguard_queue_depth", "Texts that wait to be scored.", registry=self.registry)

    def observe(self, observation: Observation) -> None:
        """Count one judgement."""
        verdict = observation.verdict
        stage = verdict.stage.value
        self._checks.labels(
            stage, verdict.outcome.value, verdict.action.value, verdict.category or "none"
        ).inc()
        self._latency.labels(stage).observe(verdict.latency_ms / 1000.0)
        if (error := error_type(verdict)) is not None:
            self._errors.labels(stage, error).inc()

    def count_request(self, route: str, status: int) -> None:
        """Count one answered request.

        Args:
            route: The route's pattern, such as ``/v1/chat/completions``; never a path that a client chose, of
                which there is no end.
            status: The HTTP status of the answer.
        """
        self._requests.labels(route, str(status)).inc()

    def set_queue_depth(self, texts: int) -> None:
        """Say how many texts wait to be scored."""
        self._queue.set(texts)

    def watch_audit(self, audit: AuditLog) -> None:
        """Show from now on how many judgements `audit` has lost."""
        lost = Gauge(
            "medguard_audit_lost",
            "Judgements that the audit log could not write.",
            registry=self.registry,
        )
        lost.set_function(lambda: audit.lost)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def stats(self) -> dict[str, Any]:
        """Return what the page shows, in plain JSON types.

        Returns:
            ``decisions``: by stage, then by action, how many texts; ``failed``, ``tripped`` and ``skipped``:
            how many of these, over both stages; ``requests``: how many were answered; ``uptime_s``: seconds
            since this observer was made.
        """
        decisions = {stage.value: {action.value: 0 for action in Action} for stage in Stage}
        outcomes = {outcome.value: 0 for outcome in Outcome}
        for labels, count in _samples(self._checks):
            decisions[labels["stage"]][labels["action"]] += count
            outcomes[labels["outcome"]] += count
        return {
            "decisions": decisions,
            "failed": outcomes[Outcome.FAILED],
            "tripped": outcomes[Outcome.TRIPPED],
            "skipped": outcomes[Outcome.SKIPPED],
            "requests": sum(count for _, count in _samples(self._requests)),
            "uptime_s": round(time.monotonic() - self._started, 1),
        }


def _samples(counter: Counter) -> list[tuple[dict[str, str], int]]:
    return [
        (sample.labels, int(sample.value))
        for metric in counter.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    ]
