"""Plain functions, sync or async, that take a prompt and return an answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from itertools import repeat
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.utils import gather_with_concurrency

from medguard.adapters.base import Adapter, Outcomes
from medguard.adapters.chunks import without_note
from medguard.adapters.declared import declared_answer, returned
from medguard.adapters.openai_chunks import as_openai, with_openai_text
from medguard.adapters.sources import opened, pulled, pulled_from_thread, pulled_later
from medguard.callbacks import running_under
from medguard.errors import BlockedError, ModelError
from medguard.steps import Whole, or_raise
from medguard.verdict import Verdict, verdict_note

__all__ = ["CallableAdapter", "GuardedStr", "attach_verdicts", "refusal_like"]


class GuardedStr(str):
    """An answer of type str that carries the guard's verdicts."""

    __slots__ = ("verdicts",)
    verdicts: tuple[Verdict, ...]

    def __new__(cls, text: str, verdicts: Sequence[Verdict]) -> GuardedStr:
        """Make a str with verdicts, the last of them the one that decided."""
        guarded = super().__new__(cls, text)
        guarded.verdicts = tuple(verdicts)
        return guarded

    def __reduce__(self) -> tuple[type[GuardedStr], tuple[str, tuple[Verdict, ...]]]:
        """Keep the verdicts through pickle and copy."""
        return GuardedStr, (str(self), self.verdicts)

    @property
    def verdict(self) -> Verdict:
        """The verdict that decided: of the answer, or of the prompt when that was blocked."""
        return self.verdicts[-1]


class CallableAdapter(Adapter):
    """Guards ``model(prompt, **options)``."""

    def __init__(self, model: Callable[..., Any]) -> None:
        self._model = model
        self.is_async = inspect.iscoroutinefunction(model) or inspect.iscoroutinefunction(
            getattr(model, "__call__", None)  # noqa: B004
        )
        self._declared = declared_answer(returned(model))

    def call(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Call the function on each input in turn."""
        if self.is_async:
            return [_needs_await() for _ in inputs]
        return [
            _awaited_by_none(self._call_one(item, config, options))
            for item, config in zip(inputs, configs, strict=True)
        ]

    async def acall(
        self,
        inputs: Sequence[Any],
        configs: Sequence[RunnableConfig],
        options: dict[str, Any],
    ) -> Outcomes:
        """Call the function on all inputs side by side, a sync one in threads.

        At most as many at once as the configuration's ``max_concurrency``.
        """
        limit = configs[0].get("max_concurrency") if configs else None
        return await gather_with_concurrency(limit, *map(self._acall_one, inputs, configs, repeat(options)))

    def refuse(self, text: str, model_input: Any, answer: Any | None, verdicts: Sequence[Verdict]) -> Any:
        """Return the refusal in the answer's own type.

        Where the prompt was blocked there is no answer yet: then a function annotated to return (or await,
        or yield) a LangChain message gives an AIMessage, any other and one without annotation a `GuardedStr`.
        """
        if answer is not None:
            return refusal_like(answer, text, verdicts)
        return refusal_like(AIMessage("") if self._declared is AIMessage else "", text, verdicts)

    def attach(self, answer: Any, verdicts: Sequence[Verdict]) -> Any:
        """Turn a str into `GuardedStr`; mark a message; leave other types as they are."""
        return attach_verdicts(answer, verdicts)

    def stream(self, model_input: Any, config: RunnableConfig, options: dict[str, Any]) -> Iterator[Any]:
        """Call the function and yield what it iterates over, or its answer."""
        with running_under(config):
            answer = self._model(model_input, **options)
            source = opened(answer)
        if source is None:
            yield Whole(or_raise(_awaited_by_none(answer)))
            return
        with closing(pulled(source, config)) as chunks:
            for chunk in chunks:
                yield without_note(chunk)

    async def astream(
        self, model_input: Any, config: RunnableConfig, options: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Call the function and yield what it iterates over, a sync one in threads."""
        with running_under(config):
            if self.is_async or inspect.isasyncgenfunction(self._model):
                answer = self._model(model_input, **options)
            else:
                answer = await asyncio.to_thread(self._model, model_input, **options)
            if inspect.isawaitable(answer):
                answer = await answer
            if isinstance(answer, AsyncIterable):
                chunks = pulled_later(aiter(answer), config)
            elif (source := opened(answer)) is not None:
                chunks = pulled_from_thread(source, config)
            else:
                chunks = None
        if chunks is None:
            yield Whole(answer)
            return
        async with aclosing(chunks):
            async for chunk in chunks:
                yield without_note(chunk)

    def _call_one(self, item: Any, config: RunnableConfig, options: dict[str, Any]) -> Any | Exception:
        try:
            with running_under(config):
                answer = self._model(item, **options)
                return answer if (source := opened(answer)) is None else _joined(source)
        except Exception as error:  # noqa: BLE001 - whatever a model raises belongs to this input alone
            return ModelError.caused_by(error)

    async def _acall_one(self, item: Any, config: RunnableConfig, options: dict[str, Any]) -> Any | Exception:
        try:
            with running_under(config):
                if self.is_async:
                    answer = await self._model(item, **options)
                else:
                    answer = await asyncio.to_thread(self._call_one, item, config, options)
                # A sync function may hand on what an async one returns.
                if inspect.isawaitable(answer):
                    answer = await answer
                if isinstance(answer, AsyncIterable):
                    return _joined([chunk async for chunk in answer])
                source = opened(answer)
                return answer if source is None else await asyncio.to_thread(_joined, source)
        except Exception as error:  # noqa: BLE001 - as above
            return ModelError.caused_by(error)


def _joined(source: Iterable[Any]) -> str:
    """The answer of a function that streams, called for the whole of it."""
    chunks = list(source)
    if not all(isinstance(chunk, str) for chunk in chunks):
        raise ModelError("the guarded function streams other things than str: use stream or astream")
    return "".join(chunks)


def _needs_await() -> ModelError:
    return ModelError("the guarded function is async: use ainvoke, abatch or astream")


def _awaited_by_none(answer: Any) -> Any:
    """Replace a coroutine, or what streams asynchronously: nobody here can await it."""
    if inspect.iscoroutine(answer):
        answer.close()
        return _needs_await()
    return _needs_await() if isinstance(answer, AsyncIterable) else answer


def refusal_like(answer: Any, text: str, verdicts: Sequence[Verdict]) -> Any:
    """Make a refusal of the type of `answer`: a str, a LangChain message, or a chunk as OpenAI sends them.

    Raises:
        BlockedError: Another type.
    """
    if isinstance(answer, str):
        return GuardedStr(text, verdicts)
    if isinstance(answer, AIMessage):
        return attach_verdicts(AIMessage(content=text, id=answer.id, name=answer.name), verdicts)
    if isinstance(answer, Mapping) and as_openai(answer) is not None:
        refusal = with_openai_text(answer, text, finish_reason="content_filter")
        return {**refusal, "medguard": verdict_note(verdicts)}
    raise BlockedError(
        f"the answer was blocked, and a {type(answer).__name__} has no place for a refusal; "
        "catch BlockedError, or guard the part of the chain that gives text",
        verdicts[-1],
    )


def attach_verdicts(answer: Any, verdicts: Sequence[Verdict]) -> Any:
    """Attach verdicts to a str (as `GuardedStr`) or a message (``response_metadata["medguard"]``).

    A chunk as OpenAI sends them gets the key ``medguard``.
    """
    if isinstance(answer, str):
        return GuardedStr(answer, verdicts)
    if isinstance(answer, AIMessage):
        metadata = verdict_note(verdicts)
        return answer.model_copy(
            update={"response_metadata": {**answer.response_metadata, "medguard": metadata}}
        )
    if isinstance(answer, Mapping) and as_openai(answer) is not None:
        return {**answer, "medguard": verdict_note(verdicts)}
    return answer
