"""What an explanation looks like, in the terminal and in HTML alike: facts, shades and visible text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from medguard.cli.check import principles_at_stake, score_line
from medguard.explain import Explanation, Span
from medguard.normalize import Form
from medguard.verdict import Verdict

__all__ = ["LEGEND", "Explained", "Shade", "facts", "split_space", "visible"]

LEGEND: Final = (
    "+ to +++ raises the score, - to --- lowers it, by a small, middle or large part of the largest change"
)

# Shares of the largest change from which a part counts as small, middle and large.
_LEVELS: Final = (0.15, 0.4, 0.7)
# A text of which no part matters has a largest change too: under this, in log-odds, nothing is marked.
_LEAST_LOG_ODDS: Final = 0.1
_FORMS: Final = {
    Form.RAW: "the text as it is",
    Form.NORMALISED: "its plain reading (disguises undone)",
    Form.DECODED: "what it encodes or hides",
}


@dataclass(frozen=True, slots=True)
class Shade:
    """How strongly a part is marked."""

    level: int
    """0 (not at all) to 3."""
    signs: str
    """As many signs as levels: ``+`` raises the score, ``-`` lowers it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """An explanation and the verdict it explains; it holds the text and must not be logged."""

    explanation: Explanation
    verdict: Verdict

    def text_of(self, span: Span) -> str:
        """The text of one part."""
        return self.explanation.text[span.start : span.end]

    def shade(self, span: Span) -> Shade:
        """Grade a part against the largest change."""
        largest = max(abs(other.attribution) for other in self.explanation.spans)
        size = abs(span.attribution)
        if size < _LEAST_LOG_ODDS:
            return Shade(0, "")
        level = sum(size >= share * largest for share in _LEVELS)
        return Shade(level, ("+" if span.attribution > 0 else "-") * level)


def facts(item: Explained) -> Iterator[tuple[str, str]]:
    """Say in words what was decided, by which window, and which principles are at stake."""
    explanation, verdict = item.explanation, item.verdict
    yield verdict.stage.value, f"{verdict.outcome.value}, {score_line(verdict)}"
    for index, name in enumerate(principles_at_stake(verdict)):
        yield "at stake" if index == 0 else "", name
    windows = explanation.scores.windows
    count = "the only window" if windows == 1 else f"the worst of {windows} windows"
    largest = max((span.attribution for span in explanation.spans), key=abs)
    yield (
        "decided by",
        f"{_FORMS[explanation.form]}, characters {explanation.start + 1} to {explanation.end} of "
        f"{len(explanation.text)} ({count})",
    )
    yield "changes", f"the largest is {largest:+.2f} in log-odds"


def visible(text: str) -> str:
    """Spell out characters that cannot be seen or that steer a terminal or the direction of writing."""
    return "".join(_visible(char) for char in text)


def split_space(text: str) -> tuple[str, str]:
    """Part the white space at the end from the rest."""
    words = text.rstrip()
    return words, text[len(words) :]


def _visible(char: str) -> str:
    if char.isprintable() or char == "\n":
        return char
    return " " if char.isspace() else f"<U+{ord(char):04X}>"
