"""What streams are made of: the text of a chunk, and a chunk with another text. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import BaseModel

from medguard.text import answer_text, strings_in
from medguard.verdict import Verdict, verdict_note

__all__ = [
    "ChunkText",
    "as_chunk",
    "closing_chunk",
    "delta_content",
    "read_chunk",
    "redacted",
    "with_text",
]


@dataclass(frozen=True, slots=True)
class ChunkText:
    """The text that a chunk adds to the stream."""

    text: str
    is_divisible: bool
    """Whether a part of the text can leave ahead of the rest: see `with_text`."""


def read_chunk(chunk: Any) -> ChunkText:
    """Find the text of a chunk: a str, a LangChain message chunk, a chunk as OpenAI sends them, or any other.

    The arguments of tool calls come in pieces of JSON, which are read as they come.

    Raises:
        InvalidInputError: The chunk is of a type whose text cannot be found.
    """
    if isinstance(chunk, str):
        return ChunkText(chunk, is_divisible=True)
    if isinstance(chunk, AIMessageChunk):
        return _read_message(chunk)
    if (content := delta_content(chunk)) is not None:
        return ChunkText(content, is_divisible=isinstance(chunk, Mapping))
    return ChunkText("" if chunk is None else answer_text(chunk), is_divisible=False)


def with_text(chunk: Any, text: str) -> Any:
    """Return a divisible `chunk` with `text` in the place of its own."""
    if isinstance(chunk, str):
        return text
    if isinstance(chunk, AIMessageChunk):
        return chunk.model_copy(update={"content": text})
    (choice,) = chunk["choices"]
    return {**chunk, "choices": [{**choice, "delta": {**choice["delta"], "content": text}}]}


def redacted(chunk: Any, text: str) -> Any | None:
    """Return an answer or chunk that holds `text` alone; None where its type has no place for it."""
    if isinstance(chunk, str):
        return text
    if isinstance(chunk, AIMessageChunk):
        return AIMessageChunk(content=text, id=chunk.id)
    if isinstance(chunk, AIMessage):
        return AIMessage(
            content=text, id=chunk.id, name=chunk.name, response_metadata=chunk.response_metadata
        )
    if isinstance(chunk, Mapping) and delta_content(chunk) is not None:
        return {**chunk, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return None


def as_chunk(answer: Any) -> Any:
    """Return a message as a message chunk, so that it adds to others; leave other types as they are."""
    if isinstance(answer, AIMessage) and not isinstance(answer, AIMessageChunk):
        return AIMessageChunk(
            content=answer.content, id=answer.id, response_metadata=answer.response_metadata
        )
    return answer


def closing_chunk(chunk: Any, verdicts: Sequence[Verdict]) -> Any | None:
    """Make the chunk that carries the verdicts after a stream; None where chunks have no place for them."""
    if not isinstance(chunk, AIMessageChunk):
        return None
    return AIMessageChunk(content="", id=chunk.id, response_metadata={"medguard": verdict_note(verdicts)})


def _read_message(chunk: AIMessageChunk) -> ChunkText:
    content, plain = chunk.content, isinstance(chunk.content, str)
    said = content if isinstance(content, str) else "".join(strings_in(content))
    calls = "".join(call.get("args") or "" for call in chunk.tool_call_chunks)
    beside = "".join(strings_in(chunk.additional_kwargs))
    return ChunkText(said + calls + beside, is_divisible=plain and not calls and not beside)


def delta_content(chunk: Any) -> str | None:
    """Return the text of the one choice of a chunk as OpenAI sends them; None for anything else."""
    data = chunk.model_dump() if isinstance(chunk, BaseModel) else chunk
    choices = data.get("choices") if isinstance(data, Mapping) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        return None
    delta = choices[0].get("delta")
    if not isinstance(delta, Mapping) or any(
        value for key, value in delta.items() if key not in ("content", "role")
    ):
        return None
    content = delta.get("content")
    return content if isinstance(content, str) else ("" if content is None else None)
