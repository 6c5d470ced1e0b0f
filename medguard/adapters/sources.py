"""What models stream from: pulled under a LangChain configuration, and closed when nobody wants more."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Sized
from dataclasses import is_dataclass
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel

from medguard.callbacks import running_under

__all__ = ["opened", "pulled", "pulled_from_thread", "pulled_later"]

_END: Final = object()


def opened(answer: Any) -> Iterator[Any] | None:
    """Return the iterator of an answer that comes piece by piece; None where it is there as a whole.

    What has a length or fields, such as a list, a table or a pydantic model, is whole.
    """
    is_whole = isinstance(answer, Sized | BaseModel) or is_dataclass(answer)
    if isinstance(answer, Iterator) or (isinstance(answer, Iterable) and not is_whole):
        return iter(answer)
    return None


def pulled(source: Iterator[Any], config: RunnableConfig) -> Generator[Any, None, None]:
    """Yield what `source` yields, and close it at the end."""
    try:
        while True:
            with running_under(config):
                chunk = next(source, _END)
            if chunk is _END:
                return
            yield chunk
    finally:
        _close(source)


async def pulled_later(source: AsyncIterator[Any], config: RunnableConfig) -> AsyncGenerator[Any, None]:
    """Yield what `source` yields, and close it at the end."""
    try:
        while True:
            with running_under(config):
                chunk = await anext(source, _END)
            if chunk is _END:
                return
            yield chunk
    finally:
        # Clients of HTTP services name it `close`, and that may be async.
        closing = _close(source, "aclose", "close")
        if inspect.isawaitable(closing):
            await closing


async def pulled_from_thread(source: Iterator[Any], config: RunnableConfig) -> AsyncGenerator[Any, None]:
    """Yield what a sync `source` yields, pulled in threads, and close it at the end."""
    shared = _Shared(source)
    try:
        while True:
            with running_under(config):
                chunk = await asyncio.to_thread(shared.pull)
            if chunk is _END:
                return
            yield chunk
    finally:
        shared.abandon()


class _Shared:
    """An iterator that may be abandoned while a thread still waits for its next item."""

    def __init__(self, source: Iterator[Any]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._is_abandoned = False

    def pull(self) -> Any:
        with self._lock:
            chunk = _END if self._is_abandoned else next(self._source, _END)
        if self._is_abandoned:
            self._close_unless_busy()
        return chunk

    def abandon(self) -> None:
        """Close the iterator; the thread that waits for it, if there is one, does so once it has its item."""
        self._is_abandoned = True
        self._close_unless_busy()

    def _close_unless_busy(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                _close(self._source)
            finally:
                self._lock.release()


def _close(source: Any, *names: str) -> Any:
    for name in names or ("close",):
        if (close := getattr(source, name, None)) is not None:
            return close()
    return None
