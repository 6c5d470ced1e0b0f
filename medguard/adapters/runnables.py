"""LangChain chat models, completion models and chains."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable, RunnableConfig

from medguard.adapters.base import Adapter, Outcomes
from medguard.adapters.callables import GuardedStr, attach_verdicts, refusal_like
from medguard.adapters.chunks import without_note
from medguard.adapters.declared import declared_answer
from medguard.adapters.sources import pulled, pulled_later
from medguard.callbacks import running_under, unstreamed
from medguard.errors import BlockedError, ModelError
from medguard.steps import Whole
from medguard.verdict import Verdict

__all__ = ["RunnableAdapter"]


class RunnableAdapter(Adapter):
    """Guards any LangChain runnable; configuration and callbacks are passed on."""

    def __init__(self, model: Runnable[Any, Any]) -> None:
        self._model = model

    def call(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Call the runnable's own batch."""
        try:
            with unstreamed():
                return self._model.batch(list(inputs), list(configs), return_exceptions=True, **options)
        except Exception as error:  # noqa: BLE001 - a runnable with a batch of its own may raise all the same
            return [ModelError.caused_by(error) for _ in inputs]

    async def acall(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Call the runnable's own abatch."""
        try:
            with unstreamed():
                return await self._model.abatch(
                    list(inputs), list(configs), return_exceptions=True, **options
                )
        except Exception as error:  # noqa: BLE001 - as above
            return [ModelError.caused_by(error) for _ in inputs]

    def stream(self, model_input: Any, config: RunnableConfig, options: dict[str, Any]) -> Iterator[Any]:
        """Call the runnable's own stream; a message that is no chunk is a whole answer."""
        with running_under(config):
            source = iter(self._model.stream(model_input, config, **options))
        with closing(pulled(source, config)) as chunks:
            for chunk in chunks:
                yield _as_whole(chunk)

    async def astream(
        self, model_input: Any, config: RunnableConfig, options: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Call the runnable's own astream; see `stream`."""
        with running_under(config):
            source = aiter(self._model.astream(model_input, config, **options))
        async with aclosing(pulled_later(source, config)) as chunks:
            async for chunk in chunks:
                yield _as_whole(chunk)

    def refuse(self, text: str, model_input: Any, answer: Any | None, verdicts: Sequence[Verdict]) -> Any:
        """Return a message or a str, by the answer or by the runnable's declared output type."""
        if answer is not None:
            return refusal_like(answer, text, verdicts)
        declared = self._declared_output()
        if declared is str:
            return GuardedStr(text, verdicts)
        if declared is AIMessage:
            return attach_verdicts(AIMessage(content=text), verdicts)
        raise BlockedError(
            "the prompt was blocked, and the chain does not declare that it returns a message or a str; "
            "catch BlockedError, or guard the model inside the chain",
            verdicts[-1],
        )

    def attach(self, answer: Any, verdicts: Sequence[Verdict]) -> Any:
        """Mark a message or a str; leave other types as they are."""
        return attach_verdicts(answer, verdicts)

    def _declared_output(self) -> type | None:
        """AIMessage, str, or None where the runnable says nothing of use."""
        try:
            return declared_answer(self._model.OutputType)
        except TypeError:
            return None


def _as_whole(chunk: Any) -> Any:
    is_whole = isinstance(chunk, AIMessage) and not isinstance(chunk, AIMessageChunk)
    return Whole(chunk) if is_whole else without_note(chunk)
