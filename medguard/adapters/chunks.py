"""What streams are made of: the text of a chunk, a chunk with another text, the text of many. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk

from medguard.adapters.openai_chunks import (
    as_openai,
    is_content_alone,
    openai_said,
    openai_texts,
    with_openai_text,
)
from medguard.escapes import without_escapes
from medguard.text import answer_text, strings_in
from medguard.verdict import Verdict, verdict_note

__all__ = [
    "ChunkText",
    "as_chunk",
    "closing_chunk",
    "gathered_text",
    "read_chunk",
    "redacted",
    "with_text",
    "without_note",
]

_CALLS: Final = ("tool_calls", "function_call")
# Where a content block keeps its text; blocks with the same place go on from each other.
_BLOCKS: Final = {"text": "text", "output_text": "text", "thinking": "thinking", "reasoning": "reasoning"}
_TEXT: Final = _BLOCKS["text"]
# Equal on every chunk, so that LangChain does not add them up.
_NAMES: Final = frozenset({"model_provider", "output_version"})


@dataclass(frozen=True, slots=True)
class ChunkText:
    """The text that a chunk adds to the stream."""

    said: Mapping[str, str]
    """The text by channel, such as content and reasoning: see `medguard.channels`."""
    is_divisible: bool
    """Whether a part of the text can leave ahead of the rest: see `with_text`."""
    waits: bool = False
    """Whether the chunk is judged only together with all that follow: see `gathered_text`."""

    @property
    def text(self) -> str:
        """All of it; once where two channels say the same."""
        return "".join(dict.fromkeys(self.said.values()))


_WAITS: Final = ChunkText({}, is_divisible=False, waits=True)


def read_chunk(chunk: Any) -> ChunkText:
    """Find the text of a chunk.

    Text flows on from chunk to chunk in a str, in a LangChain message chunk and in a chunk as OpenAI sends
    them. Tool calls have to be complete to be read, since JSON can hide words in escapes and calls can come
    side by side; so have chunks of other types, which may replace each other.
    """
    if isinstance(chunk, str):
        return ChunkText({_TEXT: chunk} if chunk else {}, is_divisible=True)
    if isinstance(chunk, AIMessageChunk):
        return _read_message(chunk)
    if (data := as_openai(chunk)) is not None:
        said = openai_said(data)
        if said is None:
            return _WAITS
        return ChunkText(said, is_divisible=isinstance(chunk, Mapping) and is_content_alone(data, said))
    return _WAITS


def with_text(chunk: Any, text: str) -> Any:
    """Return a divisible `chunk` with `text` in the place of its own."""
    if isinstance(chunk, str):
        return text
    if isinstance(chunk, AIMessageChunk):
        return chunk.model_copy(update={"content": text})
    return with_openai_text(chunk, text)


def redacted(chunk: Any, text: str) -> Any | None:
    """Return an answer or chunk that holds `text` alone; None where its type has no place for it.

    Metadata goes too: probabilities of tokens spell out the text that was removed.
    """
    if isinstance(chunk, str):
        return text
    if isinstance(chunk, AIMessageChunk):
        return AIMessageChunk(content=text, id=chunk.id)
    if isinstance(chunk, AIMessage):
        return AIMessage(content=text, id=chunk.id, name=chunk.name)
    data = as_openai(chunk) if isinstance(chunk, Mapping) else None
    return None if data is None else with_openai_text(data, text)


def gathered_text(chunks: Sequence[Any]) -> str:
    """Return all text of chunks that belong together, as each of them shows it and as they add up.

    Raises:
        InvalidInputError: One is of a type whose text cannot be found.
    """
    messages = [chunk for chunk in chunks if isinstance(chunk, AIMessageChunk)]
    openai = [data for chunk in chunks if (data := as_openai(chunk)) is not None]
    others = [chunk for chunk in chunks if not isinstance(chunk, AIMessageChunk) and as_openai(chunk) is None]
    texts = [*_message_texts(messages), *openai_texts(openai), *_other_texts(others)]
    # What a chunk says in two places, or in one that is read in two ways, is read once.
    return "\n\n".join(dict.fromkeys(text for text in texts if text.strip()))


def as_chunk(answer: Any) -> Any:
    """Return a message as a message chunk, so that it adds to others; leave other types as they are."""
    if isinstance(answer, AIMessage) and not isinstance(answer, AIMessageChunk):
        return AIMessageChunk(
            content=answer.content,
            id=answer.id,
            response_metadata=answer.response_metadata,
            chunk_position="last",
        )
    return answer


def closing_chunk(chunk: Any, verdicts: Sequence[Verdict]) -> Any | None:
    """Make the chunk that carries the verdicts after a stream; None where chunks have no place for them."""
    if not isinstance(chunk, AIMessageChunk):
        return None
    note = {"medguard": verdict_note(verdicts)}
    return AIMessageChunk(content="", id=chunk.id, response_metadata=note, chunk_position="last")


def without_note(chunk: Any) -> Any:
    """Return a message chunk without verdicts of a guard inside this one, which do not add to its own."""
    if not isinstance(chunk, AIMessageChunk) or "medguard" not in chunk.response_metadata:
        return chunk
    rest = {key: item for key, item in chunk.response_metadata.items() if key != "medguard"}
    return chunk.model_copy(update={"response_metadata": rest})


def _read_message(chunk: AIMessageChunk) -> ChunkText:
    beside = dict(chunk.additional_kwargs)
    if chunk.tool_call_chunks or chunk.invalid_tool_calls or any(beside.get(key) for key in _CALLS):
        return _WAITS
    said: dict[str, Any] = {
        key: beside.pop(key) for key in ("reasoning_content", "refusal") if beside.get(key)
    }
    for block in chunk.content if isinstance(chunk.content, list) else [chunk.content]:
        if (text := _block_text(block)) is None:
            return _WAITS
        channel = _TEXT if isinstance(block, str) else _BLOCKS[block["type"]]
        said[channel] = said.get(channel, "") + text
    if any(strings_in(beside)) or not all(isinstance(text, str) for text in said.values()):
        return _WAITS
    found = {channel: text for channel, text in said.items() if text}
    if not found and chunk.response_metadata.get("logprobs"):
        return _WAITS
    is_bare = not chunk.usage_metadata and chunk.response_metadata.keys() <= _NAMES
    return ChunkText(found, is_divisible=is_bare and found == {_TEXT: chunk.content})


def _block_text(block: Any) -> str | None:
    """The text of a content block that flows on from chunk to chunk; None for any other block."""
    if isinstance(block, str):
        return block
    kind = block.get("type")
    if kind not in _BLOCKS:
        return None
    text = block.get(_BLOCKS[kind]) or ""
    rest = {key: item for key, item in block.items() if key not in ("type", "index", _BLOCKS[kind])}
    summary = rest.pop("summary", None) if kind == "reasoning" else None
    parts = [text, *_summaries(summary or [])]
    # What is left are names and signatures, unless there are gaps between words.
    if not all(isinstance(part, str) for part in parts) or any(
        len(item.split()) > 1 for item in strings_in(rest)
    ):
        return None
    return "".join(parts)


def _summaries(summary: Any) -> Iterator[Any]:
    for part in summary if isinstance(summary, list) else [summary]:
        yield part.get("text") or "" if isinstance(part, Mapping) else None


def _message_texts(chunks: Sequence[AIMessageChunk]) -> Iterator[str]:
    if chunks:
        message = chunks[0] + chunks[1:] if len(chunks) > 1 else chunks[0]
        yield answer_text(message)
        if isinstance(message.content, list):
            # Block by block, and in the order in which they came.
            yield from (message.text, "".join(chunk.text for chunk in chunks))
        # As they came: of equal keys, LangChain reads the last alone.
        for call in message.tool_call_chunks:
            yield from without_escapes(call["args"] or "")


def _other_texts(chunks: Sequence[Any]) -> Iterator[str]:
    """What chunks of any type hold; of those that grow, such as JSON that is read as it comes, the last."""
    texts = [answer_text(chunk) for chunk in chunks]
    yield from (text for text, following in pairwise(texts) if not following.startswith(text))
    yield from texts[-1:]
    if len(chunks) > 1:
        with suppress(TypeError):
            yield answer_text(reduce(add, chunks))
