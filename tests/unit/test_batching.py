from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import pytest

from medguard import Checker, Outcome, Policy
from medguard.batching import BatchingScorer
from medguard.deadline import Work, stopped_in_time, working
from medguard.errors import GuardTimeoutError, ProviderError
from medguard.scores import Scores
from medguard.testing import FailingScorer, KeywordScorer, SlowScorer
from tests.unit.serve.servers import eventually


class Callers:
    """Threads that ask a scorer, one call each, and what they got."""

    def __init__(self, scorer: BatchingScorer) -> None:
        self.scorer = scorer
        self.found: dict[int, list[float] | Exception] = {}
        self.threads: list[threading.Thread] = []

    def ask(
        self, prompts: Sequence[str], responses: Sequence[str] | None = None, *, under: Work | None = None
    ) -> None:
        number = len(self.threads)

        def work() -> None:
            try:
                with nullcontext() if under is None else working(under):
                    scores = self.scorer.score_many(prompts, responses)
                self.found[number] = [item.deciding_score for item in scores]
            except Exception as error:  # noqa: BLE001 - for the test to look at
                self.found[number] = error

        self.threads.append(threading.Thread(target=work))
        self.threads[-1].start()

    def wait(self) -> list[list[float] | Exception]:
        for thread in self.threads:
            thread.join(30)
        return [self.found[number] for number in range(len(self.threads))]


def occupied(scorer: SlowScorer, batching: BatchingScorer) -> Callers:
    """Callers, the first of which keeps the classifier busy until it is released."""
    callers = Callers(batching)
    callers.ask(["first"])
    assert scorer.entered.wait(30)
    return callers


def test_what_arrives_meanwhile_is_scored_in_one_call_and_each_gets_its_own() -> None:
    scorer = SlowScorer({"bad": 0.9, "odd": 0.4})
    with BatchingScorer(scorer) as batching:
        callers = occupied(scorer, batching)
        callers.ask(["bad", "fine"])
        assert eventually(lambda: batching.waiting == 2)
        callers.ask(["odd"])
        assert eventually(lambda: batching.waiting == 3)
        scorer.release.set()
        assert callers.wait() == [[0.0], [0.9, 0.0], [0.4]]
    assert scorer.calls == [(["first"], None), (["bad", "fine", "odd"], None)]
    assert batching.waiting == 0


def test_requests_and_answers_are_not_mixed() -> None:
    scorer = SlowScorer(["bad"])
    with BatchingScorer(scorer) as batching:
        callers = occupied(scorer, batching)
        for number, (prompts, responses) in enumerate(
            [(["a"], None), (["b"], ["bad"]), (["c"], ["fine"]), (["d"], None)], start=1
        ):
            callers.ask(prompts, responses)
            assert eventually(lambda count=number: batching.waiting == count)
        scorer.release.set()
        assert callers.wait() == [[0.0], [0.0], [1.0], [0.0], [0.0]]
    assert scorer.calls[1:] == [(["a"], None), (["b", "c"], ["bad", "fine"]), (["d"], None)]


def test_a_batch_is_no_larger_than_it_may_be_unless_one_call_is() -> None:
    scorer = SlowScorer()
    with BatchingScorer(scorer, max_batch=3) as batching:
        callers = occupied(scorer, batching)
        waiting = 0
        for count in (2, 2, 5, 1, 1):
            callers.ask(["x"] * count)
            waiting += count
            assert eventually(lambda total=waiting: batching.waiting == total)
        scorer.release.set()
        callers.wait()
    assert [len(prompts) for prompts, _ in scorer.calls] == [1, 2, 2, 5, 2]


def test_a_first_call_waits_for_others_where_it_shall() -> None:
    scorer = KeywordScorer([])
    with BatchingScorer(scorer, max_batch=2, max_wait_ms=20_000) as batching:
        callers = Callers(batching)
        callers.ask(["a"])
        assert eventually(lambda: batching.waiting == 1)
        callers.ask(["b"])
        callers.wait()
    assert scorer.calls == [(["a", "b"], None)]


class Picky(SlowScorer):
    """Fails on any batch that holds a certain word."""

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        found = super().score_many(prompts, responses)
        if "broken" in prompts:
            raise ValueError
        return found


def test_one_bad_text_fails_its_own_call_alone() -> None:
    scorer = Picky(["bad"])
    with BatchingScorer(scorer) as batching:
        callers = occupied(scorer, batching)
        for number, text in enumerate(["bad", "broken", "fine"], start=1):
            callers.ask([text])
            assert eventually(lambda count=number: batching.waiting == count)
        scorer.release.set()
        first, bad, broken, fine = callers.wait()
    assert (first, bad, fine) == ([0.0], [1.0], [0.0])
    assert isinstance(broken, ValueError)


class Short(KeywordScorer):
    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        return super().score_many(prompts, responses)[1:]


def test_too_few_scores_are_an_error() -> None:
    with BatchingScorer(Short([])) as batching, pytest.raises(ProviderError, match="0 scores for 1"):
        batching.score_many(["a"])


def test_it_goes_on_after_a_failure() -> None:
    scorer = FailingScorer(KeyboardInterrupt())  # type: ignore[arg-type]
    with BatchingScorer(scorer) as batching:
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                batching.score_many(["a"])


def test_it_goes_on_after_its_thread_could_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with BatchingScorer(KeywordScorer(["bad"])) as batching:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", fail)
            with pytest.raises(RuntimeError, match="thread"):
                batching.score_many(["a"])
        found: list[float] = []
        asking = threading.Thread(
            target=lambda: found.extend(item.deciding_score for item in batching.score_many(["bad"])),
            daemon=True,
        )
        asking.start()
        asking.join(30)
        assert found == [1.0]


def test_nothing_to_score_needs_no_classifier() -> None:
    with BatchingScorer(FailingScorer()) as batching:
        assert batching.score_many([]) == []


def test_closing_lets_what_waits_finish_and_refuses_more() -> None:
    scorer = SlowScorer()
    batching = BatchingScorer(scorer)
    callers = occupied(scorer, batching)
    callers.ask(["second"])
    assert eventually(lambda: batching.waiting == 1)
    scorer.release.set()
    batching.close()
    assert callers.wait() == [[0.0], [0.0]]
    with pytest.raises(ProviderError, match="closed"):
        batching.score_many(["third"])
    batching.close()


def test_a_call_that_nobody_waits_for_leaves_the_queue() -> None:
    scorer, late = SlowScorer(["bad"]), Work()
    with BatchingScorer(scorer) as batching:
        callers = occupied(scorer, batching)
        callers.ask(["late", "late"], under=late)
        assert eventually(lambda: batching.waiting == 2)
        callers.ask(["bad"])
        assert eventually(lambda: batching.waiting == 3)
        late.abandon()
        assert batching.waiting == 1
        assert late.ended.wait(30)  # though the classifier is not free yet
        scorer.release.set()
        first, dropped, bad = callers.wait()
    assert (first, bad) == ([0.0], [1.0])
    assert isinstance(dropped, GuardTimeoutError)
    assert scorer.calls == [(["first"], None), (["bad"], None)]
    assert batching.waiting == 0


class Stoppable(SlowScorer):
    """Can be stopped while it waits to be released."""

    stops = 0

    def stop(self) -> None:
        self.stops += 1
        self.release.set()

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        with stopped_in_time(self.stop):
            found = super().score_many(prompts, responses)
        if self.stops:
            raise ProviderError("stopped")
        return found


def test_the_classifier_is_stopped_once_nobody_waits_for_any_call_in_the_batch() -> None:
    scorer, works = Stoppable(), [Work(), Work()]
    with BatchingScorer(scorer, max_batch=2, max_wait_ms=20_000) as batching:
        callers = Callers(batching)
        for work in works:
            callers.ask(["long"], under=work)
        assert scorer.entered.wait(30)
        works[0].abandon()
        assert works[0].ended.wait(30)
        assert scorer.stops == 0
        works[1].abandon()
        assert scorer.stops == 1
        assert all(isinstance(found, GuardTimeoutError) for found in callers.wait())
    assert scorer.calls == [(["long", "long"], None)]  # and nothing again call by call


@pytest.mark.parametrize("under", [Work(), None])
def test_while_somebody_waits_the_batch_goes_on(under: Work | None) -> None:
    scorer, late = Stoppable(["bad"]), Work()
    with BatchingScorer(scorer, max_batch=2, max_wait_ms=20_000) as batching:
        callers = Callers(batching)
        callers.ask(["late"], under=late)
        callers.ask(["bad"], under=under)
        assert scorer.entered.wait(30)
        late.abandon()
        scorer.release.set()
        dropped, bad = callers.wait()
    assert isinstance(dropped, GuardTimeoutError)
    assert bad == [1.0]
    assert scorer.stops == 0


class Endless(KeywordScorer):
    """Cannot score calls together, nor a long text before it is stopped."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__(words)
        self.entered = threading.Event()
        self.stopped: list[bool] = []

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        if len(prompts) > 1:
            raise ValueError
        if prompts == ["long"]:
            stopped = threading.Event()
            with stopped_in_time(stopped.set):
                self.entered.set()
                self.stopped.append(stopped.wait(30))
            raise ProviderError("stopped")
        return super().score_many(prompts, responses)


def test_a_call_scored_again_alone_can_be_stopped_alone() -> None:
    scorer, late = Endless(["bad"]), Work()
    with BatchingScorer(scorer, max_batch=2, max_wait_ms=20_000) as batching:
        callers = Callers(batching)
        callers.ask(["long"], under=late)
        assert eventually(lambda: batching.waiting == 1)
        callers.ask(["bad"])
        assert scorer.entered.wait(30)
        late.abandon()
        dropped, bad = callers.wait()
    assert isinstance(dropped, GuardTimeoutError)
    assert bad == [1.0]
    assert scorer.stopped == [True]


def test_what_is_scored_again_alone_is_what_somebody_waits_for() -> None:
    late = Work()

    class Late(KeywordScorer):
        """Fails on calls together, when time is over for one of them."""

        def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
            found = super().score_many(prompts, responses)
            if len(prompts) > 1:
                late.abandon()
                raise ValueError
            return found

    scorer = Late(["bad"])
    with BatchingScorer(scorer, max_batch=2, max_wait_ms=20_000) as batching:
        callers = Callers(batching)
        callers.ask(["late"], under=late)
        assert eventually(lambda: batching.waiting == 1)
        callers.ask(["bad"])
        assert callers.wait()[1] == [1.0]
    assert scorer.calls == [(["late", "bad"], None), (["bad"], None)]


def test_it_goes_on_when_nobody_waits_for_a_call_that_waited_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer, late = KeywordScorer(["bad"]), Work()
    with BatchingScorer(scorer, max_wait_ms=20_000) as batching:
        wait_for = batching._changed.wait_for  # no other way to meet this moment

        def time_is_over(condition: Callable[[], object], timeout: float | None = None) -> object:
            if timeout is None:
                return wait_for(condition)
            late.abandon()
            return condition()

        monkeypatch.setattr(batching._changed, "wait_for", time_is_over)
        callers = Callers(batching)
        callers.ask(["late"], under=late)
        assert late.ended.wait(30)
        callers.ask(["bad"])
        assert callers.wait()[1] == [1.0]
    assert scorer.calls == [(["bad"], None)]


def test_a_call_whose_time_is_over_does_not_begin() -> None:
    late = Work()
    late.abandon()
    with BatchingScorer(FailingScorer()) as batching, working(late), pytest.raises(GuardTimeoutError):
        batching.score_many(["a"])


def test_a_late_check_does_not_keep_the_next_waiting() -> None:
    scorer = Endless(["arsenic"])
    with BatchingScorer(scorer) as batching:
        late = Checker(policy=Policy(timeout_s=0.01), classifier=batching)
        assert late.check_prompt("long").outcome is Outcome.FAILED
        assert Checker(classifier=batching).check_prompt("arsenic").outcome is Outcome.TRIPPED
    assert all(scorer.stopped)


def test_a_checker_takes_it_for_a_classifier() -> None:
    with BatchingScorer(KeywordScorer(["arsenic"])) as batching:
        checker = Checker(classifier=batching)
        verdicts = checker.check_prompts(["arsenic", "aspirin"])
    assert [verdict.allowed for verdict in verdicts] == [False, True]
    assert verdicts[0].classifier_id == batching.id == "keywords"


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_wait_ms": -1.0}, {"max_wait_ms": float("nan")}])
def test_wrong_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="max_batch"):
        BatchingScorer(KeywordScorer([]), **wrong)  # type: ignore[arg-type]
