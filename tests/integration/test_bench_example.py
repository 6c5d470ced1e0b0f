"""The example of ``medguard bench`` in Python does what it says."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "bench_in_python.py"

pytest.importorskip("medguard.evaluation.bench.guards")


def test_the_example_runs_and_its_second_run_asks_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main: Any = runpy.run_path(str(EXAMPLE))["main"]
    main(tmp_path)
    first = capsys.readouterr().out
    assert "0 failed" in first
    assert "forge: stopped by word-list, medguard" in first
    assert "records-own: stopped by none" in first
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len({item["guard"] for item in results["guards"]}) == 2
    main(tmp_path)
    assert capsys.readouterr().out.startswith("0 calls, 0 failed")
