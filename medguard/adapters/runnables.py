"""LangChain chat models, completion models and chains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable, RunnableConfig

from medguard.adapters.base import Adapter, Outcomes, translate
from medguard.adapters.callables import GuardedStr, attach_verdicts, refusal_like
from medguard.errors import BlockedError
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
        answers = self._model.batch(list(inputs), list(configs), return_exceptions=True, **options)
        return [_translated(answer) for answer in answers]

    async def acall(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Call the runnable's own abatch."""
        answers = await self._model.abatch(list(inputs), list(configs), return_exceptions=True, **options)
        return [_translated(answer) for answer in answers]

    def refuse(self, text: str, model_input: Any, answer: Any | None, verdict: Verdict) -> Any:
        """Return a message or a str, by the answer or by the runnable's declared output type."""
        if answer is not None:
            return refusal_like(answer, text, verdict)
        declared = self._declared_output()
        if declared is str:
            return GuardedStr(text, [verdict])
        if declared is AIMessage:
            return attach_verdicts(AIMessage(content=text), [verdict])
        raise BlockedError(
            "the prompt was blocked, and the chain does not declare that it returns a message or a str; "
            "catch BlockedError, or guard the model inside the chain",
            verdict,
        )

    def attach(self, answer: Any, verdicts: Sequence[Verdict]) -> Any:
        """Mark a message or a str; leave other types as they are."""
        return attach_verdicts(answer, verdicts)

    def _declared_output(self) -> type | None:
        """AIMessage, str, or None where the runnable says nothing of use."""
        try:
            declared: Any = self._model.OutputType
        except TypeError:
            return None
        members = getattr(declared, "__args__", None) or (declared,)
        classes = [member for member in members if isinstance(member, type)]
        if any(issubclass(member, BaseMessage) for member in classes):
            return AIMessage
        return str if str in classes else None


def _translated(answer: Any) -> Any:
    return translate(answer) if isinstance(answer, Exception) else answer
