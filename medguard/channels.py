"""Who speaks in a stream: reasoning, content and the like are texts of their own, side by side. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import Generic, TypeVar

__all__ = ["Channels", "Turns"]

N = TypeVar("N", bound=Hashable)
T = TypeVar("T")


class Turns(Generic[N]):
    """Whose turn it is to speak.

    Chunks can be read as one running text as long as each channel says all of its own in one go. Where one
    goes on after another one spoke, a word could hide behind what came between.
    """

    def __init__(self) -> None:
        """Begin before anyone has spoken."""
        self._speaking: tuple[N, ...] = ()
        """Several where each of them says the same, as some servers have it."""
        self._have_spoken: set[N] = set()

    def take(self, said: Mapping[N, str]) -> bool:
        """Take note of what a chunk says and return True, unless it goes on where another came between.

        Args:
            said: Text by the name of its channel, in order.
        """
        speaking = self._speaking
        for text in dict.fromkeys(said.values()):
            channels = tuple(name for name in said if said[name] == text)
            if channels != speaking and not self._have_spoken.isdisjoint(channels):
                return False
            speaking = channels
        self._speaking = speaking
        self._have_spoken.update(said)
        return True


class Channels(Generic[T]):
    """The channels of one stream, and the chunks that hold the last words of each."""

    def __init__(self, kept_chars: int) -> None:
        """Begin before anyone has spoken; the last `kept_chars` characters of each channel are kept."""
        self._kept_chars = kept_chars
        self._turns: Turns[str] = Turns()
        self._last: dict[str, deque[tuple[int, T, int]]] = {}
        """By channel: the number of a chunk, the chunk, and where in the channel its words end."""
        self._ends: dict[str, int] = {}
        """How much each channel has said, in characters."""
        self._count = 0

    def take_in(self, chunk: T, said: Mapping[str, str]) -> bool:
        """Take note of a chunk and return True, unless it speaks out of turn: see `Turns`.

        Args:
            chunk: Whatever the source gave.
            said: What it says, by channel, in order.
        """
        if not self._turns.take(said):
            return False
        self._count += 1
        for name, text in said.items():
            self._keep(name, chunk, len(text))
        return True

    def last(self) -> list[T]:
        """Return the chunks with the last words of each channel, in the order in which they came."""
        kept = {number: chunk for entries in self._last.values() for number, chunk, _ in entries}
        return [kept[number] for number in sorted(kept)]

    def forget(self, names: Iterable[str]) -> None:
        """Forget what some channels said, though not that they have spoken."""
        for name in names:
            self._last.pop(name, None)

    def _keep(self, name: str, chunk: T, length: int) -> None:
        """Add a chunk to a channel; the oldest ones that are not needed any more make room."""
        end = self._ends[name] = self._ends.get(name, 0) + length
        entries = self._last.setdefault(name, deque())
        entries.append((self._count, chunk, end))
        while entries[0][2] <= end - self._kept_chars:
            entries.popleft()
