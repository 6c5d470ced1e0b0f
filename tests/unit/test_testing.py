from __future__ import annotations

import pytest

from medguard import Checker
from medguard.testing import FailingScorer, KeywordScorer, SlowScorer, make_scores


def test_the_worst_word_decides() -> None:
    scorer = KeywordScorer({"sad": 0.4, "BAD": 0.9}, default=0.1)
    scores = scorer.score_many(["good", "sad", "sad and bad"])
    assert [score.prompt_score for score in scores] == [0.1, 0.4, 0.9]


def test_answers_are_scored_where_given() -> None:
    (scores,) = KeywordScorer(["bad"]).score_many(["bad"], ["good"])
    assert scores.response_score == 0.0
    (scores,) = KeywordScorer(["bad"], principle=None).score_many(["good"], ["bad"])
    assert (scores.response_score, scores.general_harm, max(scores.principles)) == (1.0, 1.0, 0.0)


def test_the_category_is_chosen() -> None:
    assert make_scores(0.7, principle=3).principles[2] == 0.7
    assert Checker(classifier=KeywordScorer(["bad"], principle=5)).check_prompt("bad").principle == 5
    assert Checker(classifier=KeywordScorer(["bad"], principle=None)).check_prompt("bad").principle is None


def test_the_failing_one_raises_what_it_is_given() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        FailingScorer().score_many(["a"])
    with pytest.raises(KeyError):
        FailingScorer(KeyError("x")).score_many(["a"])


def test_the_slow_one_waits_for_its_release() -> None:
    scorer = SlowScorer(["bad"], patience_s=0.0)
    assert not scorer.entered.is_set()
    with pytest.raises(TimeoutError):
        scorer.score_many(["bad"])
    assert scorer.entered.is_set()
    scorer.release.set()
    assert scorer.score_many(["bad"])[0].prompt_score == 1.0
