"""Whatever a stream takes its chunks from is closed as soon as nobody wants more of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from langchain_core.runnables import Runnable

from medguard import ModelError
from medguard.policy import DEFAULT_REFUSAL
from tests.unit.guards import Driver, guard_of

SHORT = {"stream_window_chars": 24, "stream_stride_chars": 12}


class Source:
    """An iterator that tells when it is closed, and waits in between if it is told to."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> str:
        self.entered.set()
        assert self.go_on.wait(30)
        return "plain words "

    def close(self) -> None:
        self.closed.set()


class AsyncSource:
    """Streams as clients of HTTP services do, with an async `close` of their own."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __aiter__(self) -> AsyncSource:
        return self

    async def __anext__(self) -> str:
        return "plain words "

    async def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("make", [Source, AsyncSource])
def test_closing_the_stream_closes_the_source_at_once(make: Any) -> None:
    source = make()

    async def main() -> None:
        chunks = guard_of(lambda prompt: source, **SHORT).astream("water")
        await anext(chunks)
        await chunks.aclose()
        assert source.closed.is_set()

    asyncio.run(main())


def test_a_sync_stream_closes_its_source() -> None:
    source = Source()
    chunks = guard_of(lambda prompt: source, **SHORT).stream("water")
    next(chunks)
    chunks.close()
    assert source.closed.is_set()


def test_a_source_that_is_busy_when_the_stream_is_cancelled_is_closed_after() -> None:
    source = Source()
    source.go_on.clear()

    async def main() -> None:
        chunks = guard_of(lambda prompt: source, **SHORT).astream("water")
        pull = asyncio.create_task(anext(chunks))
        while not source.entered.is_set():
            await asyncio.sleep(0)
        pull.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pull
        assert not source.closed.is_set()
        source.go_on.set()
        assert await asyncio.to_thread(source.closed.wait, 30)

    asyncio.run(main())


class Later:
    """An async iterable, or iterator, that cannot be closed."""

    def __init__(self, *chunks: str) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> Later:
        return self

    async def __anext__(self) -> str:
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None


class Iterated:
    """Can be iterated over, and is no iterator."""

    def __init__(self, *chunks: str) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[str]:
        return iter(self._chunks)


class IteratedLater:
    """Can be iterated over later, and is no iterator."""

    def __init__(self, *chunks: str) -> None:
        self._chunks = chunks

    def __aiter__(self) -> Later:
        return Later(*self._chunks)


class Streams(Runnable[Any, str]):
    """A runnable whose streams are no generators."""

    def __init__(self, make: Callable[..., Any], make_later: Callable[..., Any]) -> None:
        self.make, self.make_later = make, make_later

    def invoke(self, input: Any, config: Any = None, **options: Any) -> str:  # noqa: A002
        return "plain water"

    def stream(self, input: Any, config: Any = None, **options: Any) -> Any:  # noqa: A002
        return self.make("plain ", "water")

    def astream(self, input: Any, config: Any = None, **options: Any) -> Any:  # noqa: A002
        return self.make_later("plain ", "water")


@pytest.mark.parametrize(
    ("make", "make_later"),
    [
        (lambda *chunks: iter(chunks), Later),
        (lambda *chunks: list(chunks), IteratedLater),
        (Iterated, Later),
    ],
    ids=["iterator", "list", "iterable"],
)
def test_a_runnable_may_stream_from_what_cannot_be_closed(
    driver: Driver, make: Callable[..., Any], make_later: Callable[..., Any]
) -> None:
    guard = guard_of(Streams(make, make_later))
    assert driver.stream(guard, "water") == ["plain ", "water"]
    assert driver.stream(guard, "arsenic") == [DEFAULT_REFUSAL]


def test_a_runnable_that_streams_from_an_iterator_has_it_closed(driver: Driver) -> None:
    source = Source() if not driver.is_async else AsyncSource()
    guard = guard_of(Streams(lambda *_: source, lambda *_: source), **SHORT)

    async def first() -> Any:
        async with aclosing(guard.astream("water")) as chunks:
            return await anext(chunks)

    if driver.is_async:
        asyncio.run(first())
    else:
        with closing(guard.stream("water")) as chunks:
            next(chunks)
    assert source.closed.is_set()


@pytest.mark.parametrize("kind", [Iterated, IteratedLater, Later])
def test_a_function_may_return_what_can_only_be_iterated_over(driver: Driver, kind: Any) -> None:
    guard = guard_of(lambda prompt: kind("plain ", "water"))
    if kind is not Iterated and not driver.is_async:
        for call in (driver.stream, driver.invoke):
            with pytest.raises(ModelError, match="use ainvoke, abatch or astream"):
                call(guard, "water")
        return
    assert driver.stream(guard, "water") == ["plain ", "water"]
    assert driver.invoke(guard, "water") == "plain water"


def test_an_async_function_may_return_what_is_iterated_over_at_once() -> None:
    async def later(prompt: str) -> Iterator[str]:
        return iter(["plain ", "water"])

    assert Driver(is_async=True).invoke(guard_of(later), "water") == "plain water"
    assert Driver(is_async=True).stream(guard_of(later), "water") == ["plain ", "water"]


@pytest.mark.parametrize("answer", [["plain", "water"], {"a": "water"}, ("water",)], ids=repr)
def test_containers_are_whole_answers(driver: Driver, answer: Any) -> None:
    guard = guard_of(lambda prompt: answer)
    assert driver.stream(guard, "water") == [answer]
    assert driver.invoke(guard, "water") == answer


def test_a_blocked_stream_closes_its_source(driver: Driver) -> None:
    closed = []

    def model(prompt: str) -> Iterator[str]:
        try:
            while True:
                yield "arsenic "
        finally:
            closed.append(prompt)

    assert driver.stream(guard_of(model, **SHORT), "water")[-1] == DEFAULT_REFUSAL
    assert closed == ["water"]
