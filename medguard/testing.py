"""Deterministic classifiers for the tests of applications: words instead of a model, failures on demand."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from medguard.bundle import OperatingPoint
from medguard.scores import Scores

__all__ = ["FailingScorer", "KeywordScorer", "SlowScorer", "make_scores"]

_POINTS = {
    "strict": OperatingPoint(prompt_threshold=0.3, response_threshold=0.3, target_false_positive_rate=0.05),
    "balanced": OperatingPoint(prompt_threshold=0.5, response_threshold=0.5, target_false_positive_rate=0.02),
    "permissive": OperatingPoint(
        prompt_threshold=0.8, response_threshold=0.8, target_false_positive_rate=0.01
    ),
}


def make_scores(score: float, *, principle: int | None = 8, has_answer: bool = False) -> Scores:
    """Make scores whose prompt score, or response score, is `score`.

    Args:
        score: The deciding score; not checked, so that tests can make broken scores too.
        principle: The principle (1 to 9) most at stake; None for general harm.
        has_answer: Whether an answer was scored.
    """
    return Scores(
        request_harm=(score, score, score),
        principles=tuple(score if number == principle else 0.0 for number in range(1, 10)),
        general_harm=score if principle is None else 0.0,
        answer_harm=(score, score, score, score) if has_answer else None,
    )


class KeywordScorer:
    """A classifier that knows words: a text scores as high as its worst word.

    Example:
        >>> guard = MedGuard(model, classifier=KeywordScorer(["arsenic"]))
    """

    def __init__(
        self, words: Mapping[str, float] | Iterable[str], *, default: float = 0.0, principle: int | None = 8
    ) -> None:
        """Set the words.

        Args:
            words: Scores in [0, 1] by word, or words that all score 1. Found anywhere in a text, whatever
                the case.
            default: Score of a text without any of the words.
            principle: The principle (1 to 9) that verdicts name; None for general harm.
        """
        scores = words if isinstance(words, Mapping) else dict.fromkeys(words, 1.0)
        self._scores = {word.casefold(): score for word, score in scores.items()}
        self._default = default
        self._principle = principle
        self.calls: list[tuple[list[str], list[str] | None]] = []
        """Prompts and responses of every call so far."""

    @property
    def id(self) -> str:
        """Identifier recorded in verdicts."""
        return "keywords"

    @property
    def operating_points(self) -> dict[str, OperatingPoint]:
        """Thresholds 0.3 (``strict``), 0.5 (``balanced``) and 0.8 (``permissive``)."""
        return dict(_POINTS)

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        """Score requests, or answers where given."""
        self.calls.append((list(prompts), None if responses is None else list(responses)))
        return [
            make_scores(self._score(text), principle=self._principle, has_answer=responses is not None)
            for text in (prompts if responses is None else responses)
        ]

    def _score(self, text: str) -> float:
        found = (score for word, score in self._scores.items() if word in text.casefold())
        return max(found, default=self._default)


class FailingScorer(KeywordScorer):
    """A classifier that raises at every call, for tests of ``on_error``."""

    def __init__(self, error: Exception | None = None) -> None:
        """Choose what is raised (a RuntimeError by default)."""
        super().__init__([])
        self.error = RuntimeError("the scorer is broken") if error is None else error

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        """Raise."""
        super().score_many(prompts, responses)
        raise self.error


class SlowScorer(KeywordScorer):
    """A classifier that waits to be released, for tests of concurrency that need no clock."""

    def __init__(self, words: Mapping[str, float] | Iterable[str] = (), *, patience_s: float = 30.0) -> None:
        """Set the words and how long a call waits at most before it raises TimeoutError, in seconds."""
        super().__init__(words)
        self.entered = threading.Event()
        """Set once a call has begun."""
        self.release = threading.Event()
        """Set it to let all calls finish."""
        self._patience_s = patience_s

    def score_many(self, prompts: Sequence[str], responses: Sequence[str] | None = None) -> list[Scores]:
        """Wait for `release`, then score."""
        self.entered.set()
        if not self.release.wait(self._patience_s):
            raise TimeoutError("the scorer was not released in time")
        return super().score_many(prompts, responses)
