from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from medguard.observe import request_id
from medguard.telemetry import TelemetryObserver
from medguard.testing import FailingScorer, KeywordScorer
from tests.conftest import SENTINEL
from tests.unit.observing import checker_with, sha256


class Recorded:
    """OpenTelemetry's own SDK, kept in memory."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = TelemetryObserver(tracer_provider=self.tracers, meter_provider=self.meters)

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        data: Any = self.reader.get_metrics_data()
        return [
            (dict(point.attributes), point)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    found = Recorded()
    yield found
    found.tracers.shutdown()
    found.meters.shutdown()


def test_a_check_is_a_span_with_the_decision(recorded: Recorded) -> None:
    token = request_id.set("r-1")
    try:
        verdict = checker_with(recorded.observer).check_prompt("arsenic")
    finally:
        request_id.reset(token)
    (span,) = recorded.spans.get_finished_spans()
    assert span.name == "medguard.check"
    assert dict(span.attributes or {}) == {
        "medguard.stage": "prompt",
        "medguard.outcome": "tripped",
        "medguard.action": "block",
        "medguard.category": "principle_8",
        "medguard.allowed": False,
        "medguard.score": 1.0,
        "medguard.threshold": 0.5,
        "medguard.principle": 8,
        "medguard.operating_point": "balanced",
        "medguard.classifier_id": "keywords",
        "medguard.latency_ms": verdict.latency_ms,
        "medguard.text_chars": 7,
        "medguard.request_id": "r-1",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time


def test_a_span_lies_under_the_current_one(recorded: Recorded) -> None:
    with recorded.tracers.get_tracer("test").start_as_current_span("request") as outer:
        checker_with(recorded.observer, timeout_s=30).check_prompts(["water", "wine"])
    first, second, request = recorded.spans.get_finished_spans()
    assert request.name == "request"
    for span in (first, second):
        assert span.parent is not None
        assert span.parent.span_id == outer.get_span_context().span_id


def test_a_failure_is_an_error_by_its_type(recorded: Recorded) -> None:
    scorer = FailingScorer(RuntimeError(SENTINEL))
    checker_with(recorded.observer, scorer=scorer).check_response(SENTINEL)
    (span,) = recorded.spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "RuntimeError")
    assert (span.attributes or {})["error.type"] == "RuntimeError"
    ((attributes, point),) = recorded.points("medguard.errors")
    assert (attributes, point.value) == ({"medguard.stage": "response", "error.type": "RuntimeError"}, 1)


def test_checks_are_counted_and_timed(recorded: Recorded) -> None:
    checker = checker_with(recorded.observer, action="shadow")
    checker.check_prompts(["water", "wine", "arsenic"])
    checker_with(recorded.observer, scorer=KeywordScorer(["arsenic"], principle=None)).check_response(
        "arsenic"
    )
    counted = {
        tuple(value for _, value in sorted(attributes.items())): point.value
        for attributes, point in recorded.points("medguard.checks")
    }
    assert counted == {  # action, category, outcome, stage
        ("allow", "none", "passed", "prompt"): 2,
        ("shadow", "principle_8", "tripped", "prompt"): 1,
        ("block", "general_harm", "tripped", "response"): 1,
    }
    timed = {
        attributes["medguard.stage"]: point.count
        for attributes, point in recorded.points("medguard.check.latency")
    }
    assert timed == {"prompt": 3, "response": 1}
    assert recorded.points("medguard.errors") == []


def test_no_text_and_no_hash_is_ever_recorded(recorded: Recorded) -> None:
    checker = checker_with(recorded.observer, record_text=True, max_chars=60)
    checker.check_prompts([f"arsenic {SENTINEL}", SENTINEL, SENTINEL * 9, f"{SENTINEL}\ud800"])
    spans = recorded.spans.get_finished_spans()
    told = "".join(span.to_json() for span in spans) + str(recorded.reader.get_metrics_data())
    assert len(spans) == 4
    assert SENTINEL not in told
    assert sha256(SENTINEL) not in told


def test_without_the_api_nothing_is_recorded_and_nothing_breaks() -> None:
    code = """
import logging, sys
sys.modules["opentelemetry"] = None
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from medguard.telemetry import TelemetryObserver
from tests.unit.observing import checker_with
observer = TelemetryObserver()
print(observer.enabled, checker_with(observer).check_prompt("water").allowed)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "medguard[otel]" in done.stdout
    assert done.stdout.endswith("False True\n")
    assert "failed with" not in done.stdout
