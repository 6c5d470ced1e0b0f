"""Server-sent events: read from bytes as they come, and written. Pure.

After the HTML standard, section "Server-sent events", as far as OpenAI's protocol uses it: the ``data`` of
events, and comments, which keep a connection alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from medguard.serve.wire import encode

__all__ = ["COMMENT", "DONE", "EventReader", "format_event"]

DONE: Final = "[DONE]"
"""The data of the event with which OpenAI's streams end."""

COMMENT: Final = b": keep-alive\n\n"
"""A comment, which clients ignore."""


class EventReader:
    """Reads events from bytes, however they were cut."""

    def __init__(self, max_bytes: int) -> None:
        """Set how long one event may be, in bytes."""
        self._max_bytes = max_bytes
        self._rest = b""
        self._data: list[str] = []
        self._size = 0
        self._ends_with_return = False

    def feed(self, part: bytes) -> Iterator[str | None]:
        """Take bytes; yield the data of each event that they complete, and None for each comment.

        Raises:
            ValueError: An event is too long, or no UTF-8.
        """
        if not part:
            return
        ends_with_return = part.endswith(b"\r")
        if self._ends_with_return and part.startswith(b"\n"):
            part = part[1:]  # the second half of a line break
        self._ends_with_return = ends_with_return
        # Split at \r\n, \n and \r alone: bytes.splitlines knows no others.
        lines = (self._rest + part).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        for line in lines:
            self._size += len(line)
            if self._size > self._max_bytes:
                raise ValueError("an event is too long")
            yield from self._take(line.rstrip(b"\r\n"))
        if self._size + len(self._rest) > self._max_bytes:
            raise ValueError("an event is too long")

    def _take(self, line: bytes) -> Iterator[str | None]:
        if not line:
            data, self._data, self._size = self._data, [], 0
            if data:
                yield "\n".join(data)
            return
        name, _, value = line.decode("utf-8-sig").partition(":")
        if not name:
            yield None
        elif name == "data":
            self._data.append(value.removeprefix(" "))


def format_event(data: dict[str, Any] | str) -> bytes:
    """Write one event."""
    text = data.encode("ascii") if isinstance(data, str) else encode(data)
    return b"data: " + text + b"\n\n"
