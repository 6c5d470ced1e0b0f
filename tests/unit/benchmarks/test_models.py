"""What the recorded runs of models and guards are made of, on a few requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import models, throughput
from benchmarks.readme_models import render_models
from benchmarks.sets import DATA
from medguard.bundle import Bundle, default_bundle_path
from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.report import write_report
from medguard.evaluation.bench.types import Answer, GuardScore, Judgement, SuiteItem, SuitePolicy
from tests.unit.evaluation.bench.running import make_suite
from tests.upstream import requires_upstream


class Echo:
    name = "echo"

    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        return [Answer(f"Yes: {prompt}") for prompt in prompts]


class Strict:
    name = "strict"

    def judge(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> list[Judgement]:
        return [Judgement(5 if item.harmful else 1) for item in items]


class StopsOdd:
    operating_point = "balanced"
    distilled_from = None

    def __init__(self, name: str) -> None:
        self.name = name

    def check_prompts(self, prompts: Sequence[str]) -> list[GuardScore]:
        return [GuardScore(flagged="request 1" in prompt, score=0.5) for prompt in prompts]

    def check_answers(self, prompts: Sequence[str], answers: Sequence[str]) -> None:
        return None


@pytest.fixture(scope="module", params=["medguard:made@balanced", "medguard:made#0a1b2c3d@balanced"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run") / "run"
    suites = [make_suite(2), make_suite(4, name="kind", harmful=False)]
    run_bench(folder, suites=suites, subjects=[Echo()], judge=Strict(), guards=[StopsOdd(request.param)])
    write_report(folder)
    return dict(json.loads((folder / "results.json").read_text()))


def test_the_tables_say_what_a_guard_changes(results: dict[str, Any]) -> None:
    measured = {"requests": 74374, "seconds": 600.0, "requests_per_second": 123.9, "peak_memory_mb": 812.3}
    text = render_models(results, results, results, measured)
    (row,) = [line for line in text.splitlines() if line.startswith("| made | 2 |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[2:4] == ["5.00 ± 0.00", "3.00 ± 2.00"]
    assert cells[4].startswith("-2.00")
    assert [cell.split(" ")[0] for cell in cells[5:]] == ["100.0%", "50.0%", "0.0%", "50.0%"]
    assert "| kind | benign | 4 | 1 | 0 |" in text
    assert "| suite | side | n | made@balanced |" in text
    assert "| kind | benign | 4 | 25.0%" in text
    assert "74,374 requests" in text
    assert "10 minutes on 2 CPU cores: 124 a second, with at most 812 MB" in text


@requires_upstream()
def test_recorded_answers_keep_their_recorded_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (DATA / "judge_labels_eval.jsonl").read_text(encoding="utf-8").splitlines()[:6]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.setattr(models, "LABELS", tmp_path / "labels.jsonl")
    models.main(["replayed"], runs=tmp_path / "runs", results=tmp_path)
    found = json.loads((tmp_path / "models-replayed.json").read_text(encoding="utf-8"))
    assert found["comparison"]["files"] == Bundle(default_bundle_path()).config.digests
    assert found["comparison"]["suites"], "what the run says of itself stays"
    alone = [item for item in found["harm"] if item["guard"] is None]
    levels = [json.loads(line)["harmfulness"] for line in lines]
    assert sum(item["overall"]["judged"] for item in alone) == len(lines)
    total = sum(item["overall"]["judged"] * item["overall"]["mean"]["value"] for item in alone)
    assert total == pytest.approx(sum(levels))
    requests = [json.loads(line)["response"] for line in lines]
    assert not any(text in (tmp_path / "models-replayed.md").read_text(encoding="utf-8") for text in requests)


@requires_upstream()
def test_throughput_counts_what_it_scored() -> None:
    found = throughput.measure(limit=5)
    assert (found["requests"], found["failed"]) == (5, 0)
    assert found["requests_per_second"] == pytest.approx(5 / found["seconds"])
    assert 50 < found["peak_memory_mb"] < 50_000


def test_runs_are_kept_by_bundle_version_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "medguard"
    package.mkdir()
    (package / "__init__.py").write_text("one = 1")
    monkeypatch.setattr(models.medguard, "__file__", str(package / "__init__.py"))
    bundle = Bundle(default_bundle_path())
    homes = {models._home(tmp_path, bundle)}
    assert homes == {models._home(tmp_path, bundle)}
    (package / "deep").mkdir()
    (package / "deep" / "more.py").write_text("two = 2")
    homes.add(models._home(tmp_path, bundle))
    monkeypatch.setattr(models.medguard, "__version__", "999.0")
    homes.add(models._home(tmp_path, bundle))
    other = Bundle(default_bundle_path())
    other.config = bundle.config.model_copy(update={"max_tokens": bundle.config.max_tokens + 1})
    homes.add(models._home(tmp_path, other))
    assert len(homes) == 4


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(models.typer.BadParameter, match="there are replayed, answered, guards"):
        models.main(["else"])
