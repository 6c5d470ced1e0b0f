"""Whatever a stream takes its chunks from is closed as soon as nobody wants more of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

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
