"""Figures stand together in the README only where they are of the same things."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import readme
from medguard.bundle import Bundle, default_bundle_path

OF_DATA = ("quality", "latency", "throughput", "peers")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is recorded."""
    copied = Path(shutil.copytree(readme.RESULTS, tmp_path / "results"))
    monkeypatch.setattr(readme, "RESULTS", copied)
    return copied


def set_data(results: Path, bundle: Bundle, kind: str, data: dict[str, str]) -> None:
    file = results / ("peers.json" if kind == "peers" else f"{bundle.config.id}.{kind}.json")
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    record["comparison"]["data"] = data
    file.write_text(json.dumps(record), encoding="utf-8")


def test_figures_of_other_evaluation_data_do_not_stand_together(results: Path) -> None:
    bundle = Bundle(default_bundle_path())
    for kind in OF_DATA:
        set_data(results, bundle, kind, {"contrast_eval.jsonl": "0"})
    assert readme.recorded(bundle)
    set_data(results, bundle, "peers", {"contrast_eval.jsonl": "1"})
    with pytest.raises(ValueError, match=r"^peers: of other evaluation data"):
        readme.recorded(bundle)
