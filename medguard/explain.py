"""Why a text scores as it does: the window that decides, and what each part of it adds, by occlusion.

Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901; for text, Li, Monroe and Jurafsky 2016, arXiv
1612.08220): leave one part out, score again, and take the difference. It tells what this classifier reacts
to, not what is harmful; parts that say the same thing twice cover for each other and both look harmless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from medguard.classifier import Classifier
from medguard.normalize import Form
from medguard.scores import Scores
from medguard.verdict import Stage
from medguard.windows import DecidingWindow

__all__ = ["MOST_SPANS", "Explanation", "Span", "explain"]

MOST_SPANS: Final = 48
"""Most parts of a window that are left out in turn, so most runs of the graph beside the scoring itself."""

# Keeps log-odds finite where a probability has rounded to 0 or 1.
_LEAST: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A part of the deciding window: one word or several, with the space after them."""

    start: int
    """First character, in the explanation's text."""
    end: int
    """Character after the last."""
    attribution: float
    """What the part adds to the deciding score, in log-odds (natural logarithm): the score with it minus
    the score without it. Above 0 it raises the score, below 0 it lowers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which window decided about a text, and what each part of it adds to the score.

    It holds the text it explains: never log it, and store it only where the text itself may be stored.
    """

    stage: Stage
    """Whether the request or the answer is explained."""
    form: Form
    """Which form of the text decided: as it is, its plain reading, or what it encodes."""
    text: str
    """The whole text of that form."""
    start: int
    """First character of `text` in the deciding window."""
    end: int
    """Character of `text` after the window's last."""
    scores: Scores
    """The classifier's scores, which are those of the deciding window."""
    spans: tuple[Span, ...]
    """Parts that cover ``text[start:end]`` without gap or overlap, in order, at most `MOST_SPANS`."""

    @property
    def score(self) -> float:
        """The score that thresholds apply to, in [0, 1]."""
        return self.scores.deciding_score

    @property
    def principles(self) -> tuple[float, ...]:
        """P(violates principle) for the AMA principles 1 to 9 in the deciding window, each in [0, 1]."""
        return self.scores.principles


def explain(classifier: Classifier, prompt: str, response: str | None = None) -> Explanation:
    """Explain the score of a request, or of an answer to it.

    Costs at most `MOST_SPANS` runs of the graph over one window. The request that gives context to an answer
    is never left out, so nothing is attributed to it.

    Args:
        classifier: Scores the text.
        prompt: The request; may be empty where an answer is explained.
        response: The answer; None explains the request.

    Raises:
        InvalidInputError: Not a string, or a text without a readable token.
        ProviderError: The runtime failed.
    """
    window = classifier.deciding_window(prompt, response)
    parts = _parts(window)
    whole = _log_odds(window.scores)
    starts = [window.offsets[start][0] for start, _ in parts]
    # The space and the unreadable characters between two parts go with the one before.
    ends = [*starts[1:], window.end]
    without = classifier.score_without(window, parts)
    return Explanation(
        stage=Stage.PROMPT if response is None else Stage.RESPONSE,
        form=window.form,
        text=window.text,
        start=window.start,
        end=window.end,
        scores=window.scores,
        spans=tuple(
            Span(start=start, end=end, attribution=whole - _log_odds(scores))
            for start, end, scores in zip(starts, ends, without, strict=True)
        ),
    )


def _parts(window: DecidingWindow) -> list[tuple[int, int]]:
    """Cut the window into runs of tokens: words, or as many words together as keeps to `MOST_SPANS`."""
    bounds = [index for index in range(len(window.ids)) if _begins_word(window, index)]
    words_each = math.ceil(len(bounds) / MOST_SPANS)
    starts = bounds[::words_each]
    return list(zip(starts, [*starts[1:], len(window.ids)], strict=True))


def _begins_word(window: DecidingWindow, index: int) -> bool:
    """Whether a token begins a word; punctuation belongs to the word that it touches on its left."""
    if index == 0:
        return True
    if window.words[index] == window.words[index - 1]:
        return False
    start, end = window.offsets[index]
    touches = window.offsets[index - 1][1] == start
    return not touches or any(char.isalnum() for char in window.text[start:end])


def _log_odds(scores: Scores) -> float:
    score = min(max(scores.deciding_score, _LEAST), 1.0 - _LEAST)
    return math.log(score / (1.0 - score))
