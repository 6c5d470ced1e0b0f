"""Small models, guards around them, and a driver that calls a guard sync or async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from medguard import MedGuard, Policy
from medguard.testing import KeywordScorer


class Driver:
    """Calls a guard one way or the other."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async

    def invoke(self, guard: Any, *args: Any, **options: Any) -> Any:
        if self.is_async:
            return asyncio.run(guard.ainvoke(*args, **options))
        return guard.invoke(*args, **options)

    def batch(self, guard: Any, *args: Any, **options: Any) -> Any:
        if self.is_async:
            return asyncio.run(guard.abatch(*args, **options))
        return guard.batch(*args, **options)

    def stream(self, guard: Any, *args: Any) -> list[Any]:
        async def collect() -> list[Any]:
            return [chunk async for chunk in guard.astream(*args)]

        return asyncio.run(collect()) if self.is_async else list(guard.stream(*args))


class Echo:
    """A model that answers with its prompt, or as told, and remembers what it saw."""

    def __init__(self, answer: Callable[[Any], Any] = lambda prompt: f"answer to {prompt}") -> None:
        self.answer = answer
        self.seen: list[Any] = []

    def __call__(self, prompt: Any, **options: Any) -> Any:
        self.seen.append((prompt, options) if options else prompt)
        return self.answer(prompt)


def guard_of(model: Any, scorer: Any = None, **policy: Any) -> MedGuard:
    return MedGuard(model, policy=Policy(**policy), classifier=scorer or KeywordScorer(["arsenic"]))
