"""What the load test counts as an answer, on its own upstream and on refusals as the gateway sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from benchmarks import load
from benchmarks.load_servers import ANSWER, MARK, WORD, upstream
from medguard import Policy
from medguard.bundle import Bundle, default_bundle_path


def refusals() -> Iterator[str]:
    """Every text that a policy which ships gives instead of an answer."""
    for policy in (Policy(), *map(Policy.preset, ("patient-facing", "clinician-facing", "research"))):
        yield from (policy.refusal, policy.redaction)
        for by_language in policy.refusals.values():
            yield from by_language.values()


@pytest.mark.parametrize("refusal", sorted(set(refusals())))
def test_a_refusal_is_not_taken_for_the_answer(refusal: str) -> None:
    body = {"choices": [{"message": {"role": "assistant", "content": refusal}}]}
    refused = httpx.Response(200, json=body)
    assert list(load._outcomes(refused, harmful=False)) == ["ok", "benign without its answer"]
    assert list(load._outcomes(refused, harmful=True)) == ["ok", "harmful, blocked"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_upstream_says_is_told_apart(stream: bool) -> None:
    def asked(content: str) -> Any:
        body = {"stream": stream, "messages": [{"role": "user", "content": content}]}
        return TestClient(upstream).post("/v1/chat/completions", json=body)

    assert WORD in ANSWER
    assert list(load._outcomes(asked(load.BENIGN), harmful=False)) == ["ok"]
    assert MARK in asked(load.HARMFUL).text
    assert list(load._outcomes(asked(load.HARMFUL), harmful=True)) == ["ok", "harmful, answered"]


def test_an_error_is_no_answer() -> None:
    assert list(load._outcomes(httpx.Response(502, text=ANSWER), harmful=False)) == ["status 502"]


def test_the_record_tells_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "measure", lambda clients, seconds: {})
    load.main(clients=1, seconds=1.0, output=tmp_path / "load.json")
    record = json.loads((tmp_path / "load.json").read_text(encoding="utf-8"))
    assert record["comparison"]["files"] == Bundle(default_bundle_path()).config.digests
