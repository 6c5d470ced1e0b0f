from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from medguard.cli.bench_judges import bench_judges_app
from medguard.evaluation.bench.judge_labels import read_labels
from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.types import SuitePolicy
from tests.conftest import SENTINEL
from tests.unit.evaluation.bench.judging import rating
from tests.unit.evaluation.bench.running import Parrot, make_suite
from tests.unit.evaluation.bench.test_batch_files import result, sent, written

DATA = Path(__file__).parents[4]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(bench_judges_app, [str(argument) for argument in arguments])


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    lines = [{"id": f"a{n}", "prompt": SENTINEL, "response": f"{SENTINEL} {n}"} for n in range(3)]
    return written(tmp_path / "answers.jsonl", *lines)


def test_from_answers_to_labels_and_their_agreement(tmp_path: Path, answers: Path) -> None:
    asked = run("judge-requests", answers, "--model", "gpt-made", "-o", tmp_path / "in.jsonl")
    assert asked.exit_code == 0
    assert asked.stdout.strip() == str(tmp_path / "in.jsonl")
    assert "3 requests in 1 files" in asked.stderr
    ids = [line["custom_id"] for line in sent(tmp_path / "in.jsonl")]
    replies = written(tmp_path / "out.jsonl", *(result(i, rating(n + 1)) for n, i in enumerate(ids)))
    read = run("judge-results", answers, replies, "-o", tmp_path / "labels.jsonl")
    assert (read.exit_code, read.stdout) == (0, "")
    assert "3 labels" in read.stderr
    assert [label.harmfulness for label in read_labels(tmp_path / "labels.jsonl")] == [1, 2, 3]
    assert SENTINEL not in asked.output + read.output + (tmp_path / "labels.jsonl").read_text()
    same = run("agreement", tmp_path / "labels.jsonl", tmp_path / "labels.jsonl")
    assert same.exit_code == 0
    assert "quadratic weighted kappa     1.000" in same.stdout


def test_a_run_folder_is_judged_by_file_and_then_scored_from_the_labels(tmp_path: Path) -> None:
    subject, folder = Parrot(fails_on="request 2"), tmp_path / "run"
    suites = [make_suite(4), make_suite(2, name="other", policy=SuitePolicy.GENERAL)]
    run_bench(folder, suites=suites, subjects=[subject])
    asked = run("judge-requests", folder, "--model", "gpt-made", "-o", tmp_path / "in.jsonl")
    assert "5 requests in 1 files" in asked.stderr, "the request that was not answered has nothing to judge"
    ids = [line["custom_id"] for line in sent(tmp_path / "in.jsonl")]
    replies = written(tmp_path / "out.jsonl", *(result(name, rating(4)) for name in ids))
    labels = tmp_path / "labels.jsonl"
    assert run("judge-results", folder, replies, "-o", labels).exit_code == 0
    run_bench(folder, suites=suites, subjects=[subject], judge=f"recorded:{labels}", retry=False)
    with Store.open(folder) as store:
        levels = [row.judgement and row.judgement.harmfulness for row in store.rows()]
    assert levels == [4, 4, None, 4, 4, 4]
    assert len(subject.asked) == 6, "the answers were there already"


def test_a_run_folder_takes_no_suite_of_ones_own(tmp_path: Path) -> None:
    found = run("judge-requests", tmp_path, "--model", "m", "-o", tmp_path / "in.jsonl", "--policy", "ama")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "leave --suite and --policy out" in found.stderr


def test_gaps_are_listed_and_told_by_the_status(tmp_path: Path, answers: Path) -> None:
    run("judge-requests", answers, "--model", "m", "-o", tmp_path / "in.jsonl")
    ids = [line["custom_id"] for line in sent(tmp_path / "in.jsonl")]
    out = written(tmp_path / "out.jsonl", result(ids[2], rating(5)), '{"custom_id": "', result(ids[0], "no"))
    found = run("judge-results", answers, out, "--problems", tmp_path / "problems.jsonl")
    assert found.exit_code == 1
    assert [json.loads(line)["id"] for line in found.stdout.splitlines()] == ["a2"]
    assert f"{out}, line 2: no JSON" in found.stderr
    assert f"{out}, line 3 (a0): the judge's reply" in found.stderr
    assert "no usable result for a1" in found.stderr
    listed = sent(tmp_path / "problems.jsonl")
    assert [(line["line"], line["id"]) for line in listed] == [
        (2, None),
        (3, "a0"),
        (None, "a0"),
        (None, "a1"),
    ]


def test_the_projects_two_judges_agree_as_recorded() -> None:
    first = DATA / "training" / "data" / "judge_labels_train.jsonl"
    second = DATA / "training" / "data" / "judge_labels_second.jsonl"
    found = run("agreement", first, second, "--json", "--resamples", "200")
    assert found.exit_code == 0
    report = json.loads(found.stdout)
    assert (report["answers"], report["only_other"], report["matched_by_answer"]) == (180, 0, False)
    kappa = report["quadratic_weighted_kappa"]
    assert kappa["low"] < kappa["value"] < kappa["high"]
    assert report["harmful_kappa"]["value"] == pytest.approx(0.87, abs=0.005)
    assert sum(map(sum, report["confusion"])) == 180


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["agreement", "nowhere.jsonl", "nowhere.jsonl"], "nowhere.jsonl"),
        (["judge-requests", "nowhere.jsonl", "--model", "m", "-o", "in.jsonl"], "nowhere.jsonl"),
        (["judge-results", "answers.jsonl", "nowhere.jsonl"], "nowhere.jsonl"),
        (["judge-requests", "answers.jsonl", "--model", "m", "-o", "answers.jsonl"], "overwrite"),
        (["judge-results", "answers.jsonl", "out.jsonl", "-o", "out.jsonl"], "overwrite"),
        (["judge-requests", "answers.jsonl", "--model", "m", "-o", "i", "--policy", "x"], "ama or general"),
        (["judge-requests", "answers.jsonl", "--model", "m", "-o", "i", "--wording", "w"], "wording folder"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    tmp_path: Path, answers: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.jsonl").write_text("{}\n", encoding="utf-8")
    before = answers.read_bytes()
    found = run(*arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert words in found.stderr
    assert found.stderr.count("\n") == 1
    assert SENTINEL not in found.output
    assert answers.read_bytes() == before


def test_the_commands_join_those_of_bench() -> None:
    bench = typer.Typer(name="bench")
    bench.command("list")(lambda: None)
    bench.add_typer(bench_judges_app)
    shown = CliRunner().invoke(bench, ["--help"]).output
    for name in ("list", "judge-requests", "judge-results", "agreement"):
        assert name in shown
    assert CliRunner().invoke(bench, ["agreement", "--help"]).exit_code == 0
