from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from medguard import (
    Action,
    Checker,
    InvalidInputError,
    MedGuardError,
    OnError,
    Outcome,
    Policy,
    PolicyError,
    ProviderError,
    Scores,
    Stage,
)
from medguard.deadline import Deadline
from medguard.errors import GuardTimeoutError
from medguard.testing import FailingScorer, KeywordScorer, SlowScorer, make_scores
from tests.conftest import SENTINEL

BAD_TEXTS = ["", " \n\t ", "x" * 101, "a\ud800", None, 7, b"bytes", ["list"], ValueError(SENTINEL)]


class Answering(KeywordScorer):
    """A scorer that gives whatever the test says."""

    def __init__(self, answer: Any) -> None:
        super().__init__([])
        self.answer = answer

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        super().score_many(prompts, responses)
        return self.answer


class Picky(KeywordScorer):
    """A scorer that breaks on one text."""

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        scores = super().score_many(prompts, responses)
        if "break" in prompts:
            raise RuntimeError(f"broken by {SENTINEL}")
        return scores


def checker_of(scorer: Any, **policy: Any) -> Checker:
    return Checker(policy=Policy(**policy), classifier=scorer)


def test_prompts_and_responses_are_judged() -> None:
    checker = checker_of(KeywordScorer(["arsenic"]))
    assert checker.check_prompt("a glass of water").allowed
    blocked = checker.check_prompt("a glass of ARSENIC")
    assert (blocked.allowed, blocked.score, blocked.principle, blocked.stage) == (False, 1.0, 8, Stage.PROMPT)
    response = checker.check_response("take arsenic", prompt="what helps?")
    assert (response.allowed, response.harmfulness, response.stage) == (False, 5.0, Stage.RESPONSE)
    assert checker.check_response("take water").allowed


def test_many_keep_their_order_and_share_one_call() -> None:
    scorer = KeywordScorer(["bad"])
    verdicts = checker_of(scorer).check_prompts(["bad", "", "good", "so bad"])
    assert [verdict.allowed for verdict in verdicts] == [False, False, True, False]
    assert [verdict.failed for verdict in verdicts] == [False, True, False, False]
    assert scorer.calls == [(["bad", "good", "so bad"], None)]
    assert len({verdict.latency_ms for verdict in verdicts}) == 1


def test_nothing_to_judge_is_no_call() -> None:
    scorer = KeywordScorer([])
    assert checker_of(scorer).check_prompts([]) == []
    assert checker_of(scorer).check_responses([], []) == []
    assert scorer.calls == []


@pytest.mark.parametrize("text", BAD_TEXTS, ids=ascii)
@pytest.mark.parametrize("stage", Stage)
def test_text_that_cannot_be_judged_is_blocked(stage: Stage, text: Any) -> None:
    checker = checker_of(KeywordScorer([]), max_chars=100)
    verdicts = checker.judge(stage, [text]) if stage is Stage.PROMPT else checker.judge(stage, ["q"], [text])
    assert [(verdict.allowed, verdict.failed, verdict.score) for verdict in verdicts] == [(False, True, None)]


@pytest.mark.parametrize("text", BAD_TEXTS, ids=ascii)
def test_on_error_raise_raises_a_typed_error(text: Any) -> None:
    checker = checker_of(KeywordScorer([]), max_chars=100, on_error=OnError.RAISE)
    with pytest.raises(MedGuardError) as caught:
        checker.judge(Stage.PROMPT, [text])
    assert SENTINEL not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("text", [None, 7, b"bytes", ["list"]], ids=str)
def test_single_checks_refuse_other_types_whatever_the_policy(text: Any) -> None:
    checker = checker_of(KeywordScorer([]), on_error=OnError.ALLOW)
    for call in (
        lambda: checker.check_prompt(text),
        lambda: checker.check_response(text),
        lambda: checker.check_response("answer", prompt=text),
    ):
        with pytest.raises(InvalidInputError, match="expected str"):
            call()


def test_a_str_is_no_sequence_of_texts() -> None:
    checker = checker_of(KeywordScorer([]))
    for call in (
        lambda: checker.check_prompts("one text"),
        lambda: checker.check_responses("abc", ["a", "b", "c"]),
        lambda: checker.check_responses(["a", "b", "c"], "abc"),
    ):
        with pytest.raises(InvalidInputError, match="found a single one"):
            call()


def test_stage_and_responses_must_fit() -> None:
    checker = checker_of(KeywordScorer([]))
    with pytest.raises(InvalidInputError, match="one prompt per response"):
        checker.check_responses(["a"], ["b", "c"])
    with pytest.raises(InvalidInputError, match="only there"):
        checker.judge(Stage.PROMPT, ["a"], ["b"])
    with pytest.raises(InvalidInputError, match="only there"):
        checker.judge(Stage.RESPONSE, ["a"])


def test_an_answer_is_judged_even_if_its_request_cannot_be() -> None:
    scorer = KeywordScorer(["bad"])
    checker = checker_of(scorer, max_chars=10)
    assert not checker.judge(Stage.RESPONSE, [ValueError("unread")], ["bad"])[0].allowed
    assert not checker.check_response("bad", prompt="x" * 50).allowed
    assert not checker.check_response("bad", prompt="hi \ud800").allowed
    assert scorer.calls == [([""], ["bad"]), (["x" * 10], ["bad"]), (["hi ?"], ["bad"])]


NAN = float("nan")
SCORERS = [
    FailingScorer(RuntimeError(SENTINEL)),
    FailingScorer(TimeoutError(SENTINEL)),
    FailingScorer(StopIteration(SENTINEL)),
    FailingScorer(ProviderError("the runtime failed")),
    Answering(None),
    Answering([]),
    Answering([make_scores(0.0)] * 2),
    Answering([None]),
    Answering([make_scores(NAN)]),
    Answering([make_scores(float("inf"))]),
    Answering([make_scores(-1.0)]),
    Answering([Scores(request_harm=(0.0, 0.0, 0.0), principles=(0.0,) * 8, general_harm=0.0)]),
    Answering([Scores(request_harm=(0.0, 0.0, 0.0), principles=(NAN,) * 9, general_harm=0.0)]),
]


@pytest.mark.parametrize(
    "scorer", SCORERS, ids=lambda scorer: repr(getattr(scorer, "error", None) or scorer.answer)[:40]
)
@pytest.mark.parametrize("on_error", OnError)
def test_broken_scorers_fail_as_the_policy_says(
    scorer: KeywordScorer, on_error: OnError, caplog: pytest.LogCaptureFixture
) -> None:
    checker = checker_of(scorer, on_error=on_error)
    text = f"a text with {SENTINEL}"
    with caplog.at_level(logging.DEBUG):
        if on_error is OnError.RAISE:
            with pytest.raises(MedGuardError) as caught:
                checker.check_prompt(text)
            told = "".join(traceback.format_exception(caught.value))
        else:
            verdict = checker.check_prompt(text)
            assert (verdict.allowed, verdict.failed) == (on_error is OnError.ALLOW, True)
            told = verdict.to_json()
    assert SENTINEL not in told
    assert SENTINEL not in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_response_without_answer_scores_fails() -> None:
    verdict = checker_of(Answering([make_scores(0.0, has_answer=False)])).check_response("answer")
    assert (verdict.allowed, verdict.failed) == (False, True)


def test_one_text_that_breaks_the_scorer_does_not_fail_the_others() -> None:
    scorer = Picky(["bad"])
    verdicts = checker_of(scorer).check_prompts(["good", "break", "bad"])
    assert [verdict.failed for verdict in verdicts] == [False, True, False]
    assert [verdict.allowed for verdict in verdicts] == [True, False, False]
    assert len(scorer.calls) == 1 + 3


def test_errors_take_the_place_of_verdicts() -> None:
    checker = checker_of(Picky(["bad"]), on_error=OnError.RAISE)
    good, broken, empty, bad = checker.judge_each(Stage.PROMPT, ["good", "break", "", "bad"])
    assert isinstance(broken, ProviderError)
    assert isinstance(empty, InvalidInputError)
    assert not isinstance(good, Exception)
    assert not isinstance(bad, Exception)
    assert (good.allowed, bad.allowed) == (True, False)


def test_allowing_on_error_is_logged_every_time(caplog: pytest.LogCaptureFixture) -> None:
    checker = checker_of(FailingScorer(), on_error=OnError.ALLOW)
    assert all(verdict.allowed for verdict in checker.check_prompts(["a", "b"]))
    assert [record.getMessage() for record in caplog.records] == [
        "guard failed at stage prompt, on_error allow: RuntimeError"
    ] * 2


def test_unknown_operating_point_is_refused_at_once() -> None:
    with pytest.raises(PolicyError, match="'lenient' is unknown"):
        checker_of(KeywordScorer([]), operating_point="lenient")


@pytest.mark.parametrize(("point", "allowed"), [("strict", False), ("balanced", True), ("permissive", True)])
def test_operating_points_differ(point: str, allowed: bool) -> None:
    assert (
        checker_of(KeywordScorer({"odd": 0.4}), operating_point=point).check_prompt("odd").allowed == allowed
    )


def test_threads_share_one_checker() -> None:
    checker = checker_of(KeywordScorer(["bad"]))
    start = threading.Barrier(8)

    def check(worker: int) -> list[bool]:
        start.wait(timeout=30)
        return [
            checker.check_prompt("bad" if number % 3 == worker % 3 else "good").allowed
            for number in range(50)
        ]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(check, range(8)))
    assert found == [[number % 3 != worker % 3 for number in range(50)] for worker in range(8)]


@pytest.mark.parametrize("stage", Stage)
def test_listed_texts_are_not_judged(stage: Stage) -> None:
    scorer = KeywordScorer(["bad"])
    checker = checker_of(scorer, allow_patterns=("so bad",))
    texts = ["So\u00a0 Bad", "so bad, is it", "x so bad"]
    requests = texts if stage is Stage.PROMPT else ["q"] * 3
    verdicts = checker.judge(stage, requests, None if stage is Stage.PROMPT else texts)
    assert [verdict.outcome for verdict in verdicts] == [Outcome.SKIPPED, Outcome.TRIPPED, Outcome.TRIPPED]
    assert (verdicts[0].allowed, verdicts[0].action, verdicts[0].score) == (True, Action.ALLOW, None)
    assert [len(prompts) for prompts, _ in scorer.calls] == [2]


def test_listed_texts_must_still_be_readable() -> None:
    checker = checker_of(KeywordScorer([]), allow_patterns=("thanks+",), max_chars=10)
    verdicts = checker.judge(Stage.PROMPT, ["thanks", "thank" + "s" * 9, None, ""])
    assert [verdict.outcome for verdict in verdicts] == [Outcome.SKIPPED, *[Outcome.FAILED] * 3]


def test_a_pattern_that_breaks_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Policy, text: str) -> bool:
        raise RecursionError(text)

    monkeypatch.setattr(Policy, "is_allowlisted", broken)
    verdict = checker_of(KeywordScorer([])).check_prompt(SENTINEL)
    assert (verdict.allowed, verdict.error) == (False, "RecursionError")


def test_checks_in_time_are_as_without_a_limit() -> None:
    checker = checker_of(Picky(["bad"]), timeout_s=30)
    verdicts = checker.check_prompts(["good", "break", "bad"])
    assert [verdict.outcome for verdict in verdicts] == [Outcome.PASSED, Outcome.FAILED, Outcome.TRIPPED]
    assert verdicts[1].error == "RuntimeError"


@pytest.mark.parametrize("on_error", OnError)
@pytest.mark.parametrize("stage", Stage)
def test_late_checks_fail_as_the_policy_says(
    stage: Stage, on_error: OnError, caplog: pytest.LogCaptureFixture
) -> None:
    scorer = SlowScorer()
    checker = checker_of(scorer, timeout_s=0.01, on_error=on_error)
    texts = [SENTINEL, "", f"more {SENTINEL}"]
    judged = checker.judge_each(stage, texts, None if stage is Stage.PROMPT else texts)
    if on_error is OnError.RAISE:
        assert [type(error) for error in judged] == [GuardTimeoutError, InvalidInputError, GuardTimeoutError]
    else:
        verdicts = [item for item in judged if not isinstance(item, Exception)]
        assert [(verdict.failed, verdict.allowed) for verdict in verdicts] == [
            (True, on_error is OnError.ALLOW)
        ] * 3
        assert [(verdict.error or "").partition(":")[0] for verdict in verdicts] == [
            "GuardTimeoutError",
            "InvalidInputError",
            "GuardTimeoutError",
        ]
    assert SENTINEL not in "".join(map(str, judged)) + caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    scorer.release.set()


def test_texts_that_are_late_are_not_tried_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    calls: list[int] = []

    class Late(KeywordScorer):
        def score_many(self, prompts: Any, responses: Any = None) -> Any:
            calls.append(len(prompts))
            release.wait(30)
            raise RuntimeError

    checker = checker_of(Late([]), timeout_s=0.01)
    verdicts = checker.judge(Stage.PROMPT, ["water", "wine"])
    assert all(verdict.failed for verdict in verdicts)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "medguard-check":
            thread.join(30)
    assert calls == [2]
    assert len(caplog.records) == 2


def test_texts_have_time_for_each_and_readings_of_one_request_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def run(self: Deadline, work: Any, *, parts: int = 1) -> Any:
        seen.append(parts)
        return work()

    monkeypatch.setattr(Deadline, "run", run)
    checker = checker_of(KeywordScorer([]), timeout_s=30)
    texts = ["water", "", "wine"]
    checker.check_prompts(texts)
    checker.check_responses(texts, texts)
    checker.check_prompt("water")
    checker.judge(Stage.PROMPT, texts)
    checker.judge_each(Stage.RESPONSE, texts, texts)
    assert seen == [2, 2, 1, 1, 1]


def test_one_late_check_does_not_fail_the_next() -> None:
    scorer = SlowScorer()
    checker = checker_of(scorer, timeout_s=1.0)
    assert checker.check_prompt("water").failed
    scorer.release.set()
    assert checker.check_prompt("water").outcome is Outcome.PASSED


def test_late_checks_do_not_gather_threads() -> None:
    scorer = SlowScorer()
    checker = checker_of(scorer, timeout_s=0.001)
    before = threading.active_count()
    verdicts = [checker.check_prompt("water") for _ in range(80)]
    grown = threading.active_count() - before
    scorer.release.set()
    assert all(verdict.failed for verdict in verdicts)
    assert 0 < grown <= 64
    assert "too many earlier checks are still running" in (verdicts[-1].error or "")


def test_library_logs_nowhere_unless_asked() -> None:
    assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger("medguard").handlers)
