"""Hold a stream back until it has been judged: overlapping windows, and what each of them releases. Pure.

Window *k* covers the characters from ``k * stride`` to ``k * stride + window``. When it passes, all before
the start of window *k + 1* is released; so nothing from the first blocked window onward ever leaves, and harm
no longer than ``window - stride`` characters lies in one window as a whole wherever it stands.

A window is read with some of what came before it: what begins in mid-sentence is taken for worse than it is.

Characters written as escapes, such as a line break in JSON, can make another word of the one that they touch.
Text that has some is judged twice: as it is, and with them undone.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar

from medguard.escapes import undo_escapes
from medguard.policy import Policy
from medguard.verdict import Action, Verdict

__all__ = ["HoldBack", "Piece", "StreamWindow"]

T = TypeVar("T")

# White space of JSON before a letter, or before another escape.
_LINE_BREAK: Final = re.compile(r"\\[bfnrt](?=[^\W\d_]|\\)")


@dataclass(frozen=True, slots=True)
class StreamWindow:
    """Characters of the stream that are judged together. It holds text and must not be logged."""

    start: int
    """Position of its first character in the stream."""
    end: int
    """Position after its last character."""
    text: str
    """The characters from `start` to `end` after those that are read with them, as they are or with their
    escapes undone."""


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """A chunk, or a part of one, that may leave."""

    chunk: T
    """The chunk as it came."""
    text: str
    """What of the chunk's text may leave now."""
    whole: bool
    """Whether the chunk may leave as it came. If not, `text` has to take the place of the chunk's own."""


@dataclass(slots=True)
class _Entry(Generic[T]):
    chunk: T
    text: str
    start: int
    is_divisible: bool
    done: int = 0
    """How many of its characters have left or were removed."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)


class HoldBack(Generic[T]):
    """The memory of one stream: what has come, what has been judged, what may leave.

    `feed` every chunk, judge each window that it returns, and `settle` these in order; then `finish`. A
    window is complete when a character beyond it has come, so that the last ones always wait for `finish`.

    The work is linear in the stream's length: each character is read at most
    ``ceil((window + context) / stride)`` times, and where there are escapes twice as often.
    """

    def __init__(
        self,
        window_chars: int,
        stride_chars: int,
        *,
        context_chars: int = 0,
        redaction: str = "[removed]",
    ) -> None:
        """Start an empty stream.

        Args:
            window_chars: Length of a window in characters, at least 1.
            stride_chars: Distance between the starts of windows in characters, from 1 to `window_chars`.
            context_chars: How many characters before a window are read with it, where nothing was removed.
            redaction: What takes the place of what action ``redact`` removes.

        Raises:
            ValueError: A length is out of range.
        """
        if not 1 <= stride_chars <= window_chars:
            raise ValueError(
                f"need 1 <= stride <= window, found {stride_chars} and {window_chars} characters"
            )
        self._window = window_chars
        self._stride = stride_chars
        self._context = context_chars
        self._redaction = redaction
        self._entries: deque[_Entry[T]] = deque()
        self._due: deque[StreamWindow] = deque()
        self._text = ""
        self._text_start = 0
        self._next_start = 0
        self._end = 0
        self._frontier = 0
        self._redacted_to = -1
        self._is_finished = False
        self._is_blocked = False

    @classmethod
    def under(cls, policy: Policy) -> Self:
        """Start an empty stream with the windows and the redaction that `policy` asks for."""
        return cls(
            policy.stream_window_chars,
            policy.stream_stride_chars,
            context_chars=policy.stream_context_chars,
            redaction=policy.redaction,
        )

    @property
    def blocked(self) -> bool:
        """Whether a window was blocked; nothing is released any more."""
        return self._is_blocked

    @property
    def held(self) -> list[T]:
        """The chunks of which something is still held, in order."""
        return [entry.chunk for entry in self._entries]

    def feed(self, chunk: T, text: str, *, is_divisible: bool = True) -> list[StreamWindow]:
        """Take a chunk and return the windows that it completes, to be judged and settled in order.

        Args:
            chunk: Whatever the source gave.
            text: The chunk's text; empty where it has none. Such a chunk keeps its place between the others.
            is_divisible: Whether a part of `text` may leave ahead of the rest; a chunk that is not divisible
                leaves once all of its text may.

        Raises:
            ValueError: The stream is finished.
        """
        if self._is_finished:
            raise ValueError("the stream is finished and takes no more chunks")
        if self._is_blocked:
            return []
        self._entries.append(_Entry(chunk, text, self._end, is_divisible))
        kept_from = max(self._text_start, self._next_start - self._context)
        self._text = self._text[kept_from - self._text_start :] + text
        self._text_start = kept_from
        self._end += len(text)
        complete: list[StreamWindow] = []
        while self._end > self._next_start + self._window:
            complete += self._windows_to(self._next_start + self._window)
            self._next_start += self._stride
        self._due.extend(complete)
        return complete

    def finish(self) -> list[StreamWindow]:
        """End the stream and return the window of its last characters; it is blank where there are none.

        As from `feed`, it may come in two readings.
        """
        if self._is_finished or self._is_blocked or not self._entries:
            self._is_finished = True
            return []
        self._is_finished = True
        last = self._windows_to(self._end)
        self._due.extend(last)
        return last

    def settle(self, window: StreamWindow, verdict: Verdict) -> list[Piece[T]]:
        """Return what the verdict on `window` releases.

        Raises:
            ValueError: `window` is not the next one to be settled.
        """
        if self._is_blocked:
            return []
        if not self._due or self._due[0] is not window:
            raise ValueError("windows are settled once and in order")
        self._due.popleft()
        is_last = self._is_finished and not self._due
        if verdict.action is Action.REDACT:
            return self._remove(window.end) + (self._release(self._end) if is_last else [])
        if not verdict.allowed:
            self._is_blocked = True
            self._entries.clear()
            self._text = ""
            return []
        if self._due and self._due[0].start == window.start:
            return []  # the same characters are due once more
        return self._release(self._end if is_last else window.start + self._stride)

    def _windows_to(self, end: int) -> list[StreamWindow]:
        """The window from the next start to `end`, and once more without escapes where it has some."""
        start = self._next_start
        # What was removed would remove what follows too.
        first = min(start, max(self._text_start, start - self._context, self._redacted_to))
        text = self._text[first - self._text_start : end - self._text_start]
        readings = dict.fromkeys((text, undo_escapes(_LINE_BREAK.sub("\n", text))))
        return [StreamWindow(start, end, reading) for reading in readings]

    def _release(self, upto: int) -> list[Piece[T]]:
        """Let all characters before `upto` leave."""
        self._frontier = max(self._frontier, upto)
        pieces: list[Piece[T]] = []
        while self._entries and self._entries[0].end <= self._frontier:
            entry = self._entries.popleft()
            if entry.done < len(entry.text) or not entry.text:
                pieces.append(Piece(entry.chunk, entry.text[entry.done :], whole=entry.done == 0))
        if self._entries and self._entries[0].is_divisible:
            entry = self._entries[0]
            if (available := self._frontier - entry.start) > entry.done:
                pieces.append(Piece(entry.chunk, entry.text[entry.done : available], whole=False))
                entry.done = available
        return pieces

    def _remove(self, upto: int) -> list[Piece[T]]:
        """Put the redaction in the place of all held characters before `upto`; keep chunks without text."""
        if upto <= self._frontier:
            return []
        pieces: list[Piece[T]] = []
        is_marked = self._redacted_to == self._frontier
        while self._entries and self._entries[0].start < upto:
            entry = self._entries[0]
            if not entry.text:
                pieces.append(Piece(entry.chunk, "", whole=True))
            elif not is_marked:
                pieces.append(Piece(entry.chunk, self._redaction, whole=False))
                is_marked = True
            if entry.end > upto and entry.is_divisible:
                entry.done = upto - entry.start
                break
            # What an indivisible chunk has beyond the window goes with the rest of it.
            self._entries.popleft()
        self._frontier = self._redacted_to = upto
        return pieces
