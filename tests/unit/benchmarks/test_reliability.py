from __future__ import annotations

from pathlib import Path

from benchmarks.reliability import draw_reliability
from medguard.evaluation.metrics import ReliabilityBin


def test_the_diagram_is_the_same_each_time(tmp_path: Path) -> None:
    bins = [
        ReliabilityBin(probability=0.1, frequency=0.2, count=40),
        ReliabilityBin(probability=0.9, frequency=0.8, count=60),
    ]
    one = draw_reliability(bins, tmp_path / "one.svg").read_text(encoding="utf-8")
    other = draw_reliability(bins, tmp_path / "other.svg").read_text(encoding="utf-8")
    assert one == other
    assert "share judged harmful" in one
    changed = [bins[0], ReliabilityBin(probability=0.9, frequency=0.5, count=60)]
    assert draw_reliability(changed, tmp_path / "changed.svg").read_text(encoding="utf-8") != one
