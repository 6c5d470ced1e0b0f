from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from medguard.errors import DataError
from medguard.evaluation import metrics
from medguard.evaluation.bench.analysis import analyse
from medguard.evaluation.bench.results import HarmResult, Latency, Results
from medguard.evaluation.bench.types import Judgement, Row
from tests.unit.evaluation.bench.reporting import GUARD, make_meta, make_row, small_run


def run(rows: list[Row], **options: object) -> Results:
    return analyse(iter(rows), make_meta(rows), **options)  # type: ignore[arg-type]


def cell(
    results: Results, guard: str | None, suite: str = "med-harm-gpt4", side: str = "harmful"
) -> HarmResult:
    (found,) = [r for r in results.harm if (r.guard, r.suite, r.side) == (guard, suite, side)]
    return found


def test_the_papers_table() -> None:
    levels = [1, 1, 2, 4, 5, 5]
    rows = [
        make_row(str(index), level=level, principle=1 + index % 2, jargon=index < 2)
        for index, level in enumerate(levels)
    ]
    found = cell(run(rows), None)
    assert found.overall.mean is not None
    assert found.overall.mean.value == pytest.approx(3.0)
    assert found.overall.standard_error == pytest.approx(np.std(levels, ddof=1) / np.sqrt(6))
    assert found.overall.levels == (2, 1, 0, 1, 2)
    assert found.overall.share_harmful is not None
    assert found.overall.share_harmful.value == 0.5
    assert found.overall.refusal_rate is not None
    assert found.overall.refusal_rate.value == pytest.approx(1 / 3)
    assert {number: of.mean.value for number, of in found.by_principle.items() if of.mean} == pytest.approx(
        {1: 8 / 3, 2: 10 / 3}
    )
    assert found.with_jargon is not None
    assert found.without_jargon is not None
    assert (found.with_jargon.judged, found.without_jargon.judged) == (2, 4)
    assert found.overall.mean.low < 3.0 < found.overall.mean.high


def test_what_a_guard_stops_is_a_refusal_without_a_judge() -> None:
    rows = [
        make_row("request stopped", level=5, request=True, answer=False),
        make_row("answer stopped", level=4, request=False, answer=True),
        make_row("both passed", level=5, request=False, answer=False),
        make_row("declined by itself", level=1, request=False, answer=False),
    ]
    results = run(rows)
    alone, behind = cell(results, None), cell(results, GUARD)
    assert alone.overall.levels == (1, 0, 0, 1, 2)
    assert behind.overall.levels == (3, 0, 0, 0, 1)
    assert (behind.stopped_requests, behind.stopped_answers) == (1, 1)
    assert behind.overall.mean is not None
    assert behind.overall.mean.value == 2.0
    assert behind.change is not None
    assert behind.change.value == -1.75
    assert alone.change is None
    assert alone.stopped_requests == 0


def test_alone_and_behind_stand_on_the_same_judged_answers() -> None:
    rows = [
        make_row("judged", level=5, request=False, answer=False),
        make_row("stopped, not judged", level=None, request=True, answer=True),
        make_row("not judged", level=None, request=False, answer=False),
        make_row("failed", level=None, answered=False, request=False),
    ]
    results = run(rows)
    for guard in (None, GUARD):
        found = cell(results, guard)
        assert found.overall.judged == 1
        assert (found.requests, found.unjudged, found.failed) == (4, 2, 1)
        assert found.overall.mean is not None
        assert found.overall.mean.value == 5.0
        assert found.overall.standard_error is None
    assert results.cost.subject_failures == 1


def test_an_answer_that_its_guard_has_not_seen_yet_counts_for_the_subject_alone() -> None:
    rows = [
        make_row("done", level=4, request=False, answer=False),
        make_row("answer unseen", level=5, request=False),
        make_row("request stopped, answer unseen", level=5, request=True),
        make_row("request stopped", level=5, request=True, answer=False),
        make_row("unseen", level=5),
    ]
    results = run(rows)
    assert cell(results, None).overall.judged == 5
    # Else the stopped requests of an unfinished run would outweigh those that passed.
    assert cell(results, GUARD).overall.levels == (1, 0, 0, 1, 0)


def test_a_guard_of_requests_alone_needs_no_word_on_answers() -> None:
    rows = [make_row("a", level=4, request=False), make_row("b", level=5, request=True)]
    assert cell(run(rows), GUARD).overall.levels == (1, 0, 0, 1, 0)


def test_sides_of_a_mixed_suite_stand_apart_and_benign_answers_are_no_refusals() -> None:
    rows = [
        make_row("bad", suite="xstest", harmful=True, level=1),
        make_row("good", suite="xstest", harmful=False, level=1),
    ]
    results = run(rows)
    assert cell(results, None, "xstest", "harmful").overall.refusal_rate is not None
    benign = cell(results, None, "xstest", "benign").overall
    assert benign.refusal_rate is None
    assert benign.judged == 1


def test_guard_figures_are_those_of_the_metrics() -> None:
    rows = list(small_run())
    results = run(rows)
    (requests, answers) = results.guards
    assert (requests.stage, answers.stage) == ("request", "answer")
    scores = {
        side: [r.prompt_scores[GUARD].score for r in rows if r.item.harmful is side] for side in (True, False)
    }
    harmful, benign = (np.array(scores[side], dtype=float) for side in (True, False))
    (ranking,) = requests.ranking
    assert ranking.benign_suites == ("contrast",)
    assert ranking.auroc.value == pytest.approx(metrics.auroc(harmful, benign))
    assert ranking.auprc.value == pytest.approx(metrics.average_precision(harmful, benign))
    assert {rate: of.value for rate, of in ranking.recall_at_fpr.items()} == pytest.approx(
        {f"{rate:.2f}": metrics.recall_at_fpr(harmful, benign, rate) for rate in (0.01, 0.02, 0.05)}
    )
    by_suite = {item.suite: item for item in requests.suites}
    over = by_suite["contrast"].over_refusal
    recall = by_suite["med-harm-gpt4"].recall
    assert over is not None
    assert recall is not None
    assert (over.value, recall.value) == pytest.approx((0.1, 0.75))
    assert by_suite["contrast"].recall is None
    assert requests.calibration is not None
    assert requests.calibration.expected_calibration_error.value == pytest.approx(
        metrics.expected_calibration_error(np.concatenate([harmful, benign]), np.arange(70) < 40)
    )
    # Answers are harmful as their judge says, whatever the request.
    assert sum(item.harmful for item in answers.suites) == 16


def latency_of(rows: list[Row]) -> Latency:
    (guard,) = run(rows).guards
    assert guard.latency is not None
    return guard.latency


def test_texts_that_share_a_call_are_one_measurement() -> None:
    sizes = [64, 64, 64, 16]
    rows = [
        make_row(f"{call}-{index}", subject=None, request=True, seconds=(1 + call) / 1000)
        for call, size in enumerate(sizes)
        for index in range(size)
    ]
    found = latency_of(rows)
    assert (found.texts, found.calls) == (208, 4)
    assert found.mean_ms.value == pytest.approx(np.average([1, 2, 3, 4], weights=sizes))
    assert found.p50_ms.value == pytest.approx(2.0)
    # As wide as four measurements make them: as 208 they would reach over a quarter of a millisecond.
    assert found.mean_ms.high - found.mean_ms.low > 1.0
    assert (found.p50_ms.low, found.p50_ms.high) == pytest.approx((1.0, 3.0))
    assert (found.p95_ms, found.p99_ms) == (None, None)


def test_texts_that_were_timed_alone_have_high_percentiles() -> None:
    rows = [
        make_row(str(number), subject=None, suite=suite, request=True, seconds=number / 1000)
        for number in range(1, 101)
        for suite in ("med-harm-gpt4", "med-harm-llama2")
    ]
    found = latency_of(rows)
    # A text that is in both suites was timed once.
    assert (found.texts, found.calls) == (100, 100)
    assert found.p50_ms.value == pytest.approx(50.0)
    assert found.p95_ms is not None
    assert found.p99_ms is not None
    assert (found.p95_ms.value, found.p99_ms.value) == pytest.approx((95.0, 99.0))
    assert found.mean_ms.value == pytest.approx(50.5)
    assert found.mean_ms.low < 50.5 < found.mean_ms.high


def test_an_answer_without_a_recorded_label_is_no_failure_of_the_judge() -> None:
    judgements = [Judgement(2), Judgement(None), Judgement(None), Judgement(None, error="Timeout")]
    rows = [replace(make_row(str(at)), judgement=said) for at, said in enumerate(judgements)]
    results = run(rows)
    assert (results.cost.judgements, results.cost.judge_failures) == (1, 1)
    assert cell(results, None).unjudged == 3


def test_a_request_counts_once_however_many_subjects_answer_it() -> None:
    rows = [make_row("a", request=True, score=0.9, subject=subject) for subject in ("one", "two", None)]
    (guard,) = run(rows).guards
    assert guard.texts == 1


def test_guards_alone_need_neither_subject_nor_judge() -> None:
    rows = [
        make_row("a", subject=None, request=True, score=0.9),
        make_row("b", subject=None, request=False, score=0.1, suite="medicationqa", harmful=False),
    ]
    results = run(rows)
    assert results.harm == ()
    assert results.comparison.judge is None
    # No hard benign suite: all benign requests serve, and the result says so.
    assert results.guards[0].ranking[0].benign_suites == ("medicationqa",)


def test_hard_benign_suites_are_told_from_easy_ones() -> None:
    rows = [
        make_row("a", request=True, score=0.9),
        make_row("b", suite="own", harmful=False, request=False, score=0.95),
        make_row("c", suite="medicationqa", harmful=False, request=False, score=0.1),
    ]
    assert run(rows, hard_benign=["own"]).guards[0].ranking[0].auroc.value == 0.0
    assert run(rows).guards[0].ranking[0].auroc.value == 0.5


def test_failures_and_missing_scores_are_counted_not_scored() -> None:
    rows = [
        make_row("a", request=True, score=None),
        make_row("b", request=True, score=None, error="Timeout"),
        make_row("c", request=False, score=None, harmful=False),
    ]
    (guard,) = run(rows).guards
    assert (guard.texts, guard.errors) == (2, 1)
    assert guard.ranking == ()
    assert guard.calibration is None


def test_scores_that_are_no_probabilities_rank_but_are_not_calibrated() -> None:
    rows = [
        make_row("a", request=True, score=7.0),
        make_row("b", request=False, score=-2.0, harmful=False, suite="contrast"),
    ]
    (guard,) = run(rows).guards
    assert guard.calibration is None
    assert guard.ranking[0].auroc.value == 1.0


def test_the_order_of_rows_makes_no_difference() -> None:
    rows = list(small_run())
    mixed = rows.copy()
    random.Random(3).shuffle(mixed)
    assert run(mixed) == run(rows)


def test_what_cannot_be_reported_is_an_error() -> None:
    with pytest.raises(DataError, match="no rows"):
        run([])
    rows = [make_row("a"), make_row("b")]
    object.__setattr__(rows[1], "judge", "another")
    with pytest.raises(DataError, match="one judge"):
        run(rows)
