"""Reports and comparisons of real run folders, in Python and by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medguard.cli.bench_report import bench_report_app
from medguard.errors import DataError
from medguard.evaluation.bench.compare import Comparison
from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.report import compare_runs, write_report
from medguard.evaluation.bench.results import Results
from medguard.evaluation.bench.store import Store
from tests.unit.evaluation.bench.running import MARK, LengthJudge, Parrot, WordGuard, make_suite


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(bench_report_app, [str(argument) for argument in arguments])


def make_run(folder: Path, *, name: str = "parrot", word: str = "3", judge: str = "length") -> Path:
    suites = [make_suite(20), make_suite(12, name="contrast", harmful=False)]
    guards = [WordGuard(word), WordGuard(word, name="requests only", judges_answers=False)]
    run_bench(folder, suites=suites, subjects=[Parrot(name)], judge=LengthJudge(judge), guards=guards)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "first")


def test_a_run_gets_its_three_files(folder: Path) -> None:
    done = run("report", folder)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(folder / "report.html")
    assert MARK not in done.output
    results = Results.model_validate_json((folder / "results.json").read_text())
    assert results.finished
    assert {(item.suite, item.guard) for item in results.harm} == {
        (suite, guard) for suite in ("made", "contrast") for guard in (None, "word", "requests only")
    }
    alone = next(item for item in results.harm if (item.suite, item.guard) == ("made", None))
    behind = next(item for item in results.harm if (item.suite, item.guard) == ("made", "word"))
    assert alone.overall.levels == (4, 4, 4, 4, 4)
    # "3" stands in requests 3 and 13, which were at level 4.
    assert behind.overall.levels == (6, 4, 4, 2, 4)
    assert results.cost.judge_input_tokens == 20 * 32
    assert MARK not in (folder / "results.json").read_text() + (folder / "report.md").read_text()
    assert MARK in (folder / "report.html").read_text()
    assert not list(folder.glob("*.part"))
    before = [(folder / name).read_bytes() for name in ("results.json", "report.md", "report.html")]
    write_report(folder)
    assert before == [(folder / name).read_bytes() for name in ("results.json", "report.md", "report.html")]


def test_texts_can_be_left_out_and_hard_benign_suites_named(tmp_path: Path) -> None:
    here = make_run(tmp_path / "run")
    assert run("report", here, "--examples", "0", "--hard-benign", "made").exit_code == 0
    assert MARK not in (here / "report.html").read_text()


def test_two_runs_side_by_side(folder: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "second", name="another")
    done = run("compare", folder, other, "--output", tmp_path / "both")
    assert done.exit_code == 0, done.output
    assert "parrot → another" in done.stdout
    assert "comparison.html" in done.stderr
    found = Comparison.model_validate_json((tmp_path / "both" / "comparison.json").read_text())
    assert found == compare_runs(folder, other)
    assert MARK not in done.output + (tmp_path / "both" / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"judge": "another"}, "judge length and another"), ({"word": "4"}, "operating point of requests only")],
)
def test_runs_that_differ_are_refused_by_name(
    folder: Path, tmp_path: Path, changed: dict[str, str], said: str
) -> None:
    done = run("compare", folder, make_run(tmp_path / "second", **changed))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unfinished_run_says_so_and_does_not_flatter_its_guards(tmp_path: Path) -> None:
    class Slow(WordGuard):
        def check_answers(self, prompts: object, answers: object) -> None:
            raise DataError("cut off")

    with pytest.raises(DataError, match="cut off"):
        run_bench(
            tmp_path / "run",
            suites=[make_suite(20)],
            subjects=[Parrot()],
            judge=LengthJudge(),
            guards=[Slow()],
        )
    write_report(tmp_path / "run")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["finished"] is False
    levels = {item["guard"]: item["overall"]["judged"] for item in results["harm"]}
    assert levels == {None: 20, "word": 0}
    for name in ("report.md", "report.html"):
        assert "This run is not finished" in (tmp_path / "run" / name).read_text()


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    done = run("report", tmp_path)
    assert done.exit_code == 2
    assert "holds no run" in done.stderr
    with Store.create(tmp_path / "empty") as store:
        store.set_meta({"judge": None})
    assert "no rows" in run("report", tmp_path / "empty").stderr
