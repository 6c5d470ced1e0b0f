from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.progress import ConsoleProgress, rate_text
from tests.unit.evaluation.bench.running import MARK, LengthJudge, Parrot, make_suite


def shown(folder: Path, *, on_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=on_terminal, width=120, color_system=None)
    with ConsoleProgress(console) as progress:
        run_bench(
            folder,
            suites=[make_suite(6)],
            subjects=[Parrot(fails_on="request 3")],
            judge=LengthJudge(),
            batches=(2, 2, 2),
            progress=progress,
        )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_bar_for_each_stage_on_a_terminal(tmp_path: Path) -> None:
    found = shown(tmp_path / "run", on_terminal=True)
    assert "answers of parrot" in found
    assert "6/6" in found
    assert "1 failed" in found
    assert "judgements of length" in found
    assert MARK not in found


def test_a_line_for_each_stage_elsewhere(tmp_path: Path) -> None:
    first, second = shown(tmp_path / "run", on_terminal=False).splitlines()
    assert first.startswith("medguard: answers of parrot: 6 done, 1 failed, ")
    assert second.startswith("medguard: judgements of length: 5 done, 0 failed, ")


@pytest.mark.parametrize(
    ("rate", "text"), [(None, "-"), (12.34, "12.3/s"), (1.0, "1.0/s"), (0.05, "3.0/min")]
)
def test_rates(rate: float | None, text: str) -> None:
    assert rate_text(rate) == text
