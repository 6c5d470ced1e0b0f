"""Overlapping windows over a token sequence, so that long input is judged whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medguard.normalize import Form
from medguard.scores import Scores

__all__ = ["DecidingWindow", "fit_context", "spans"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingWindow:
    """The window that decided about a text. It holds the text and must not be logged."""

    form: Form
    text: str
    """The whole text of that form; offsets count its characters."""
    scores: Scores
    """What the classifier says about this window, and so about the text."""
    ids: tuple[int, ...]
    """The window's tokens, without special ones and without context."""
    offsets: tuple[tuple[int, int], ...]
    """Half-open characters of `text` that each token stands for, in order."""
    words: tuple[int, ...]
    """Number of the word each token is a part of, never decreasing."""
    context: tuple[int, ...] | None
    """Tokens of the request that accompany an answer; None where a request was judged."""

    @property
    def start(self) -> int:
        """First character of `text` in the window."""
        return self.offsets[0][0]

    @property
    def end(self) -> int:
        """Character of `text` after the window's last."""
        return self.offsets[-1][1]


def spans(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Cover ``range(length)`` with windows of at most `size`, each `stride` after the one before.

    The last window ends at `length` and is as wide as the others, so that no window is a short tail
    without context.

    Args:
        length: Number of tokens, at least 1.
        size: Window width in tokens, at least 1.
        stride: Step between windows in tokens, from 1 to `size`.

    Returns:
        Half-open ``(start, end)`` pairs in order.

    Raises:
        ValueError: An argument is out of range.
    """
    if length < 1 or size < 1 or not 1 <= stride <= size:
        raise ValueError(f"need length >= 1 and 1 <= stride <= size, found {length=}, {size=}, {stride=}")
    if length <= size:
        return [(0, length)]
    starts = [*range(0, length - size, stride), length - size]
    return [(start, start + size) for start in starts]


def fit_context(tokens: Sequence[int], size: int) -> list[int]:
    """Shorten a request that only gives context to an answer: two thirds head, one third tail.

    The request itself is judged whole at the prompt stage; this is never used for that.
    """
    if len(tokens) <= size:
        return list(tokens)
    tail = size // 3
    return [*tokens[: size - tail], *tokens[len(tokens) - tail :]]
