from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import streaming
from medguard.bundle import Bundle, default_bundle_path


def test_the_record_tells_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "measure", lambda tokens_per_second, rounds: {})
    streaming.main(rounds=1, output=tmp_path / "streaming.json")
    record = json.loads((tmp_path / "streaming.json").read_text(encoding="utf-8"))
    assert record["comparison"]["files"] == Bundle(default_bundle_path()).config.digests
