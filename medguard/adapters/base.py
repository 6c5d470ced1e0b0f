"""What the guard needs of a model, whatever the model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig

from medguard.text import answer_text, new_user_text
from medguard.verdict import Verdict

__all__ = ["Adapter", "Outcomes", "verdict_note"]

Outcomes: TypeAlias = "list[Any | Exception]"
"""One answer, or the exception instead of it, per input."""


class Adapter(ABC):
    """Calls one kind of model, and speaks its types.

    `call` and `acall` never raise for a single input: the exception takes the answer's place, so that one
    bad input does not lose the others.
    """

    is_async: bool = False
    """Whether calling the model gives an awaitable, so that only `acall` works."""

    @abstractmethod
    def call(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Call the model on each input."""

    @abstractmethod
    async def acall(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Outcomes:
        """Call the model on each input, asynchronously."""

    @abstractmethod
    def refuse(self, text: str, model_input: Any, answer: Any | None, verdicts: Sequence[Verdict]) -> Any:
        """Make a refusal of the type of the model's own answers.

        Args:
            text: The refusal.
            model_input: What the model was, or would have been, given.
            answer: The blocked answer; None when the prompt was blocked and the model never called.
            verdicts: The verdicts so far, the last of them the one that blocked.

        Raises:
            BlockedError: The answer type has no place for a refusal.
        """

    @abstractmethod
    def attach(self, answer: Any, verdicts: Sequence[Verdict]) -> Any:
        """Return `answer` with the verdicts attached where its type has a place for them."""

    def prompt_text(self, model_input: Any) -> str:
        """Return the text of `model_input` that the pre-filter checks."""
        return new_user_text(model_input)

    def answer_text(self, model_input: Any, answer: Any) -> str:
        """Return the text of `answer` that the post-filter checks."""
        return answer_text(answer)


def verdict_note(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the verdict that decided, the last, as plain JSON types, with all of them under ``verdicts``."""
    return {**verdicts[-1].to_dict(), "verdicts": [verdict.to_dict() for verdict in verdicts]}
