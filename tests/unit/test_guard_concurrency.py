"""The event loop, threads and cancellation; events instead of clocks."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from medguard import MedGuard
from medguard.policy import DEFAULT_REFUSAL
from medguard.testing import KeywordScorer, SlowScorer


def echo(prompt: str) -> str:
    return prompt


async def until(condition: threading.Event) -> None:
    async with asyncio.timeout(30):
        while not condition.is_set():
            await asyncio.sleep(0)


def test_event_loop_goes_on_while_the_guard_scores() -> None:
    scorer = SlowScorer()
    guard = MedGuard(echo, classifier=scorer)

    async def main() -> str:
        call = asyncio.create_task(guard.ainvoke("water"))
        await until(scorer.entered)
        # Only a loop that is free gets here, while the scorer still waits for its release.
        for _ in range(20):
            await asyncio.sleep(0)
        assert not call.done()
        scorer.release.set()
        return await call

    assert asyncio.run(main()) == "water"


def test_event_loop_goes_on_while_a_sync_model_answers() -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(prompt: str) -> str:
        entered.set()
        assert release.wait(30)
        return prompt

    async def main() -> str:
        call = asyncio.create_task(MedGuard(slow, classifier=KeywordScorer([])).ainvoke("water"))
        await until(entered)
        release.set()
        return await call

    assert asyncio.run(main()) == "water"


def test_cancelled_call_never_reaches_the_model() -> None:
    scorer = SlowScorer()
    seen: list[str] = []

    async def model(prompt: str) -> str:
        seen.append(prompt)
        return prompt

    async def main() -> None:
        call = asyncio.create_task(MedGuard(model, classifier=scorer).ainvoke("water"))
        await until(scorer.entered)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        scorer.release.set()

    asyncio.run(main())
    assert seen == []


def test_cancellation_of_the_model_is_passed_on() -> None:
    async def main() -> None:
        entered = asyncio.Event()

        async def model(prompt: str) -> str:
            entered.set()
            await asyncio.Event().wait()
            return prompt

        call = asyncio.create_task(MedGuard(model, classifier=KeywordScorer([])).ainvoke("water"))
        await entered.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(main())


def test_many_calls_at_once_do_not_mix() -> None:
    guard = MedGuard(echo, classifier=KeywordScorer(["arsenic"]))
    texts = [f"arsenic {number}" if number % 3 == 0 else f"water {number}" for number in range(200)]

    async def main() -> list[str]:
        return await asyncio.gather(*(guard.ainvoke(text) for text in texts))

    expected = [DEFAULT_REFUSAL if "arsenic" in text else text for text in texts]
    assert asyncio.run(main()) == expected
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(guard.invoke, texts)) == expected
