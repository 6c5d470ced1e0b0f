"""What the guard needs of a model, whatever the model is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig

from medguard.adapters import chunks
from medguard.adapters.chunks import ChunkText
from medguard.conversation import prompt_readings, without_refused_turns
from medguard.policy import Policy
from medguard.steps import Whole, or_raise
from medguard.text import answer_text
from medguard.verdict import Verdict

__all__ = ["Adapter", "Outcomes"]

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

    def stream(self, model_input: Any, config: RunnableConfig, options: dict[str, Any]) -> Iterator[Any]:
        """Call the model and yield its chunks, or its answer as a `Whole`; raises what it raises."""
        (answer,) = self.call([model_input], [config], options)
        yield Whole(or_raise(answer))

    async def astream(
        self, model_input: Any, config: RunnableConfig, options: dict[str, Any]
    ) -> AsyncIterator[Any]:
        """Call the model asynchronously; see `stream`."""
        (answer,) = await self.acall([model_input], [config], options)
        yield Whole(or_raise(answer))

    def readings(self, model_input: Any, policy: Policy) -> Sequence[str]:
        """Return the texts of `model_input` that the pre-filter judges; the worst of them decides."""
        return prompt_readings(model_input, policy)

    def without_refused(self, model_input: Any, policy: Policy) -> Any:
        """Return what the model may read: not the turns of a conversation that the guard refused."""
        return without_refused_turns(model_input, policy)

    def redacted(self, answer: Any, text: str) -> Any | None:
        """Return an answer or chunk that holds `text` alone; None where its type has no place for it."""
        return chunks.redacted(answer, text)

    def read_chunk(self, chunk: Any) -> ChunkText:
        """Return the text that a chunk adds to the stream."""
        return chunks.read_chunk(chunk)

    def gathered_text(self, held: Sequence[Any]) -> str:
        """Return all text of chunks that can only be judged together."""
        return chunks.gathered_text(held)

    def with_text(self, chunk: Any, text: str) -> Any:
        """Return a divisible chunk with `text` in the place of its own."""
        return chunks.with_text(chunk, text)

    def as_chunk(self, answer: Any) -> Any:
        """Return a refusal as the chunk that ends a stream."""
        return chunks.as_chunk(answer)

    def closing_chunk(self, chunk: Any, verdicts: Sequence[Verdict]) -> Any | None:
        """Return a chunk for the verdicts after the last one; None where chunks have no place for them."""
        return chunks.closing_chunk(chunk, verdicts)

    def answer_text(self, model_input: Any, answer: Any) -> str:
        """Return the text of `answer` that the post-filter checks."""
        return answer_text(answer)
