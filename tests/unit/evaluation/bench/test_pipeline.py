from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import medguard
from medguard import Policy
from medguard.bundle import Bundle, default_bundle_path
from medguard.errors import BundleError, DataError, ModelError
from medguard.evaluation.bench.guards import MedGuardGuard
from medguard.evaluation.bench.pipeline import run_bench
from medguard.evaluation.bench.report import write_report
from medguard.evaluation.bench.store import Store
from medguard.evaluation.bench.types import Answer, GuardScore, Judgement, Row, SuiteItem, SuitePolicy
from tests.unit.evaluation.bench.running import MARK, LengthJudge, Parrot, WordGuard, make_suite


def rows_of(folder: Path) -> list[Row]:
    with Store.open(folder) as store:
        return list(store.rows())


def test_a_run_from_end_to_end(tmp_path: Path) -> None:
    suites = make_suite(10), make_suite(5, name="calm", policy=SuitePolicy.GENERAL, harmful=False)
    subjects, judge = [Parrot("one"), Parrot("two")], LengthJudge()
    guards = [WordGuard(), WordGuard("7", name="requests", judges_answers=False)]
    summary = run_bench(
        tmp_path / "run", suites=suites, subjects=subjects, judge=judge, guards=guards, batches=(4, 3, 7)
    )
    rows = rows_of(tmp_path / "run")
    assert (len(rows), summary.failed) == (30, 0)
    assert all(row.judgement is not None and row.judge == "length" for row in rows)
    assert all(set(row.prompt_scores) == {"word", "requests"} for row in rows)
    assert all(set(row.answer_scores) == {"word"} for row in rows)
    assert {policy for *_, policy in judge.asked} == {SuitePolicy.AMA, SuitePolicy.GENERAL}
    # Both subjects say the same: one judgement and one score serve both.
    assert (len(judge.asked), len(guards[0].asked)) == (15, 30)
    with Store.open(tmp_path / "run") as store:
        meta = store.meta()
    assert meta["harness_version"] == medguard.__version__
    assert meta["operating_points"] == {"word": "word 3", "requests": "word 7"}
    assert (meta["judge"], meta["finished"], meta["engine"]) == ("length", True, "local")
    assert meta["revisions"] == {"made": "r1", "calm": "r1"}


def test_a_finished_run_calls_nothing(tmp_path: Path) -> None:
    parts: dict[str, Any] = {"subjects": [Parrot()], "judge": LengthJudge()}
    guards = [WordGuard(), WordGuard(name="requests", judges_answers=False)]
    run_bench(tmp_path / "run", suites=[make_suite(10)], guards=guards, **parts)
    before = rows_of(tmp_path / "run")
    again: dict[str, Any] = {"subjects": [Parrot()], "judge": LengthJudge()}
    more = [WordGuard(), WordGuard(name="requests", judges_answers=False)]
    summary = run_bench(tmp_path / "run", suites=[make_suite(10)], guards=more, **again)
    assert summary.calls == 0
    assert [*again["subjects"][0].asked, *again["judge"].asked, *more[0].asked, *more[1].asked] == []
    assert rows_of(tmp_path / "run") == before


def test_a_changed_judge_reuses_the_answers_and_back_again(tmp_path: Path) -> None:
    def run(judge: LengthJudge) -> tuple[Parrot, LengthJudge]:
        subject = Parrot()
        run_bench(tmp_path / "run", suites=[make_suite(6)], subjects=[subject], judge=judge)
        return subject, judge

    run(LengthJudge())
    subject, judge = run(LengthJudge("second"))
    assert (len(subject.asked), len(judge.asked)) == (0, 6)
    assert {row.judge for row in rows_of(tmp_path / "run")} == {"second"}
    subject, judge = run(LengthJudge())
    assert (len(subject.asked), len(judge.asked)) == (0, 0)
    assert {row.judge for row in rows_of(tmp_path / "run")} == {"length"}


def test_another_version_begins_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_bench(tmp_path / "run", suites=[make_suite(4)], guards=[WordGuard()])
    before = rows_of(tmp_path / "run")
    monkeypatch.setattr(medguard, "__version__", "999.0")
    guard = WordGuard("quokka")
    with pytest.raises(DataError, match=r"began, this is 999\.0: choose another folder"):
        run_bench(tmp_path / "run", suites=[make_suite(6)], guards=[guard])
    assert guard.asked == []
    assert rows_of(tmp_path / "run") == before
    with Store.open(tmp_path / "run") as store:
        assert store.meta()["harness_version"] != "999.0"
    assert run_bench(tmp_path / "other", suites=[make_suite(6)], guards=[guard]).calls == 6


def test_a_bundle_made_anew_under_the_same_name_is_asked_again(tmp_path: Path) -> None:
    config = Bundle(default_bundle_path()).config
    strict = config.operating_points["strict"]
    other = config.model_copy(update={"operating_points": {**config.operating_points, "balanced": strict}})
    for settings, flagged, calls in ((config, True, 4), (config, False, 0), (other, False, 4)):
        guard = MedGuardGuard(Policy())
        vars(guard)["_checker"] = SimpleNamespace(classifier=SimpleNamespace(config=settings))
        guard.check_prompts = partial(_say_of_all, flagged)  # type: ignore[method-assign]
        assert run_bench(tmp_path / "run", suites=[make_suite(4)], guards=[guard]).calls == calls
    assert {said.flagged for row in rows_of(tmp_path / "run") for said in row.prompt_scores.values()} == {
        False
    }


def _say_of_all(flagged: bool, prompts: Sequence[str]) -> list[GuardScore]:
    return [GuardScore(flagged) for _ in prompts]


def test_a_larger_run_asks_for_what_is_new(tmp_path: Path) -> None:
    run_bench(tmp_path / "run", suites=[make_suite(4)], subjects=[Parrot()])
    subject = Parrot()
    run_bench(tmp_path / "run", suites=[make_suite(6)], subjects=[subject])
    assert len(subject.asked) == 2


@pytest.mark.parametrize("retry", [True, False])
def test_failures_are_stored_and_tried_again_if_wanted(tmp_path: Path, retry: bool) -> None:
    first = run_bench(
        tmp_path / "run", suites=[make_suite(5)], subjects=[Parrot(fails_on="request 3")], judge=LengthJudge()
    )
    assert (first.failed, first.stages[1].calls) == (1, 4)
    (failed,) = (row for row in rows_of(tmp_path / "run") if row.answer and row.answer.text is None)
    assert (failed.answer, failed.judgement) == (Answer(None, "Timeout"), None)
    subject, judge = Parrot(), LengthJudge()
    run_bench(tmp_path / "run", suites=[make_suite(5)], subjects=[subject], judge=judge, retry=retry)
    assert (len(subject.asked), len(judge.asked)) == ((1, 1) if retry else (0, 0))


def test_what_raises_on_one_text_costs_that_text_alone_and_quotes_nothing(tmp_path: Path) -> None:
    run_bench(tmp_path / "run", suites=[make_suite(6)], subjects=[Parrot(raises_on="request 2")])
    answers = [row.answer for row in rows_of(tmp_path / "run")]
    assert answers[2] == Answer(None, "raised RuntimeError")
    assert sum(answer is not None and answer.text is not None for answer in answers) == 5
    assert MARK not in str(answers[2])


class BrokenGuard(WordGuard):
    error: type[Exception] = ModelError

    def check_prompts(self, prompts: Sequence[str]) -> list[Any]:
        raise self.error(f"no: {prompts}")


def test_a_guard_that_raises_stops_the_text(tmp_path: Path) -> None:
    run_bench(tmp_path / "run", suites=[make_suite(2)], guards=[BrokenGuard()])
    for row in rows_of(tmp_path / "run"):
        assert (row.prompt_scores["word"].flagged, row.prompt_scores["word"].error) == (
            True,
            "raised ModelError",
        )


def test_what_is_wrong_with_the_whole_run_ends_it_and_keeps_what_is_stored(tmp_path: Path) -> None:
    guard = BrokenGuard()
    guard.error = BundleError
    with pytest.raises(BundleError):
        run_bench(tmp_path / "run", suites=[make_suite(3)], subjects=[Parrot()], guards=[guard])
    assert all(row.answer is not None for row in rows_of(tmp_path / "run"))
    with Store.open(tmp_path / "run") as store:
        assert store.meta()["finished"] is False


class StreamingJudge(LengthJudge):
    """Gives judgements one by one, and dies on the third."""

    def __init__(self, folder: Path, deaths: int = 1) -> None:
        super().__init__()
        self.folder, self.deaths = folder, deaths
        self.stored: list[int] = []

    def judge_each(
        self, items: Sequence[SuiteItem], answers: Sequence[str], policy: SuitePolicy
    ) -> Iterator[tuple[int, Judgement]]:
        for index in reversed(range(len(items))):
            with Store.open(self.folder) as store:
                self.stored.append(store.counts()["judgements"])
            if len(self.stored) == 3 and self.deaths:
                raise KeyboardInterrupt
            yield index, self.judge([items[index]], [answers[index]], policy)[0]


def test_judgements_are_stored_as_they_arrive(tmp_path: Path) -> None:
    judge = StreamingJudge(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_bench(tmp_path / "run", suites=[make_suite(5)], subjects=[Parrot()], judge=judge)
    assert judge.stored == [0, 1, 2]
    second = StreamingJudge(tmp_path / "run", deaths=0)
    run_bench(tmp_path / "run", suites=[make_suite(5)], subjects=[Parrot()], judge=second)
    assert second.stored == [2, 3, 4]
    levels = [row.judgement.harmfulness for row in rows_of(tmp_path / "run") if row.judgement]
    assert levels == [1, 2, 3, 4, 5]


class WildJudge(LengthJudge):
    def judge(self, items: Sequence[SuiteItem], *_: Any) -> list[Judgement]:
        return [Judgement(7) for _ in items]


def test_a_level_that_is_none_is_a_failure(tmp_path: Path) -> None:
    summary = run_bench(tmp_path / "run", suites=[make_suite(2)], subjects=[Parrot()], judge=WildJudge())
    assert summary.failed == 2
    assert all(row.judgement and row.judgement.harmfulness is None for row in rows_of(tmp_path / "run"))


class ShortParrot(Parrot):
    def answer(self, prompts: Sequence[str]) -> list[Answer]:
        return super().answer(prompts)[1:]


def test_too_few_answers_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected 4 results of one call, found 3"):
        run_bench(tmp_path / "run", suites=[make_suite(4)], subjects=[ShortParrot()])


def test_a_guard_is_not_scored_by_its_own_teacher(tmp_path: Path) -> None:
    guard = WordGuard()
    guard.distilled_from = "length"
    with pytest.raises(DataError, match="distilled"):
        run_bench(
            tmp_path / "run", suites=[make_suite(1)], subjects=[Parrot()], judge=LengthJudge(), guards=[guard]
        )
    assert not (tmp_path / "run").exists()


def test_progress_is_told(tmp_path: Path) -> None:
    class Told:
        def __init__(self) -> None:
            self.seen: list[tuple[Any, ...]] = []

        def begin(self, title: str, *, done: int, total: int) -> None:
            self.seen.append((title, done, total))

        def advance(self, done: int, failed: int) -> None:
            self.seen.append((done, failed))

        def end(self) -> None:
            self.seen.append(())

    told = Told()
    run_bench(
        tmp_path / "run",
        suites=[make_suite(3)],
        subjects=[Parrot(fails_on="request 2")],
        batches=(2, 2, 2),
        progress=told,
    )
    assert told.seen == [("answers of parrot", 0, 3), (2, 0), (1, 1), ()]


def test_a_run_makes_a_report(tmp_path: Path) -> None:
    run_bench(
        tmp_path / "run",
        suites=[make_suite(10), make_suite(10, name="contrast", harmful=False)],
        subjects=[Parrot()],
        judge=LengthJudge(),
        guards=[WordGuard()],
    )
    page = write_report(tmp_path / "run")
    assert page.read_text(encoding="utf-8").startswith("<!")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["comparison"]["judge"] == "length"
    assert {item["guard"] for item in results["harm"]} == {None, "word"}
