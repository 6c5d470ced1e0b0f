from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from medguard.audit import AuditLog
from medguard.serve.metrics import PrometheusObserver
from medguard.testing import FailingScorer, KeywordScorer
from medguard.verdict import Action
from tests.conftest import SENTINEL
from tests.unit.observing import checker_with, sha256


def exposed(observer: PrometheusObserver, name: str) -> dict[tuple[Any, ...], float]:
    """Samples of that name as a scraper reads them, by label values in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(observer.exposition().decode("utf-8"))
        for sample in family.samples
        if sample.name == name
    }


def test_checks_are_counted_by_action_category_outcome_and_stage() -> None:
    observer = PrometheusObserver()
    checker_with(observer, action="shadow", allow_patterns=("thank you",)).check_prompts(
        ["water", "wine", "arsenic", "thank you"]
    )
    general = checker_with(observer, scorer=KeywordScorer(["arsenic"], principle=None))
    general.check_response("arsenic")
    assert exposed(observer, "medguard_checks_total") == {
        ("allow", "none", "passed", "prompt"): 2.0,
        ("shadow", "principle_8", "tripped", "prompt"): 1.0,
        ("allow", "none", "skipped", "prompt"): 1.0,
        ("block", "general_harm", "tripped", "response"): 1.0,
    }
    assert exposed(observer, "medguard_check_latency_seconds_count") == {("prompt",): 4.0, ("response",): 1.0}


def test_latency_is_in_seconds() -> None:
    observer = PrometheusObserver()
    verdict = checker_with(observer).check_prompt("water")
    (total,) = exposed(observer, "medguard_check_latency_seconds_sum").values()
    assert total == pytest.approx(verdict.latency_ms / 1000)
    assert exposed(observer, "medguard_check_latency_seconds_bucket")[("+Inf", "prompt")] == 1.0


def test_errors_are_counted_by_type() -> None:
    observer = PrometheusObserver()
    checker_with(observer, scorer=FailingScorer(RuntimeError(SENTINEL))).check_prompts(
        ["water", "", SENTINEL]
    )
    assert exposed(observer, "medguard_guard_errors_total") == {
        ("prompt", "RuntimeError"): 2.0,
        ("prompt", "InvalidInputError"): 1.0,
    }


def test_requests_queue_and_lost_records_are_shown(tmp_path: Path) -> None:
    observer, audit = PrometheusObserver(), AuditLog(tmp_path / "audit.jsonl")
    assert exposed(observer, "medguard_audit_lost") == {}
    observer.watch_audit(audit)
    observer.count_request("/v1/chat/completions", 200)
    observer.count_request("/v1/chat/completions", 200)
    observer.count_request("/medguard/check", 422)
    observer.set_queue_depth(5)
    assert exposed(observer, "medguard_requests_total") == {
        ("/v1/chat/completions", "200"): 2.0,
        ("/medguard/check", "422"): 1.0,
    }
    assert exposed(observer, "medguard_queue_depth") == {(): 5.0}
    assert exposed(observer, "medguard_audit_lost") == {(): 0.0}
    audit.path.unlink()
    audit.path.mkdir()
    checker_with(audit).check_prompt("water")
    assert exposed(observer, "medguard_audit_lost") == {(): 1.0}


def test_observers_do_not_share_counts() -> None:
    first, second = PrometheusObserver(), PrometheusObserver()
    checker_with(first).check_prompt("water")
    assert exposed(second, "medguard_checks_total") == {}
    assert exposed(first, "process_resident_memory_bytes")[()] > 0


def test_stats_are_plain_and_complete() -> None:
    observer = PrometheusObserver()
    empty = observer.stats()
    assert set(empty) == {"decisions", "failed", "tripped", "skipped", "requests", "uptime_s"}
    assert empty["decisions"] == {
        stage: {action.value: 0 for action in Action} for stage in ("prompt", "response")
    }
    checker_with(observer, action="annotate", allow_patterns=("thank you",)).check_prompts(
        ["water", "arsenic", "thank you", ""]
    )
    checker_with(observer).check_responses(["q", "q"], ["water", "arsenic"])
    observer.count_request("/medguard/check", 200)
    observer.count_request("/medguard/check", 422)
    stats = observer.stats()
    assert json.loads(json.dumps(stats)) == stats
    assert {name: count for name, count in stats["decisions"]["prompt"].items() if count} == {
        "allow": 2,
        "annotate": 1,
        "block": 1,
    }
    assert {name: count for name, count in stats["decisions"]["response"].items() if count} == {
        "allow": 1,
        "block": 1,
    }
    assert (stats["failed"], stats["tripped"], stats["skipped"], stats["requests"]) == (1, 2, 1, 2)
    assert stats["uptime_s"] >= empty["uptime_s"] >= 0.0


def test_no_text_and_no_hash_is_shown() -> None:
    observer = PrometheusObserver()
    checker_with(observer, record_text=True, max_chars=60).check_prompts([SENTINEL, SENTINEL * 9, "\ud800"])
    shown = observer.exposition().decode("utf-8") + json.dumps(observer.stats())
    assert SENTINEL not in shown
    assert sha256(SENTINEL) not in shown
