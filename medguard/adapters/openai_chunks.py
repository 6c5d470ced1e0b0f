"""Chunks as OpenAI's API streams them, as mappings or as the client's own objects. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from medguard.escapes import without_escapes
from medguard.text import strings_in, unpacked

__all__ = ["SAID", "as_openai", "is_content_alone", "openai_said", "openai_texts", "with_openai_text"]

SAID: Final = ("reasoning", "reasoning_content", "refusal", "content")
"""Fields of a delta whose text flows on from chunk to chunk."""

_NAMES: Final = frozenset({"id", "object", "created", "model", "system_fingerprint", "service_tier", "usage"})
_CHOICE: Final = frozenset({"index", "delta", "finish_reason", "logprobs"})


def as_openai(chunk: Any) -> Mapping[str, Any] | None:
    """Return `chunk` as a mapping where it is one of OpenAI's, else None."""
    data = unpacked(chunk) if isinstance(chunk, BaseModel) else chunk
    if not isinstance(data, Mapping) or not isinstance(choices := data.get("choices"), list):
        return None
    if not all(isinstance(item, Mapping) and isinstance(item.get("delta"), Mapping) for item in choices):
        return None
    return data


def openai_said(data: Mapping[str, Any]) -> dict[str, str] | None:
    """Return what the chunk says, by field of its delta; None where that is judged only with what follows.

    So it is with tool calls, several choices at once, and whatever else a chunk may hold text in.
    """
    beside = {key: item for key, item in data.items() if key not in _NAMES and key != "choices"}
    if any(strings_in(beside)):
        return None
    if not data["choices"]:
        return {}
    choice, *others = data["choices"]
    delta = choice["delta"]
    if others or choice.get("index") or any(choice[key] for key in choice if key not in _CHOICE):
        return None
    if any(delta[key] for key in delta if key not in (*SAID, "role")):
        return None
    said = {key: delta[key] for key in SAID if delta.get(key)}
    if not all(isinstance(text, str) for text in said.values()) or (choice.get("logprobs") and not said):
        return None
    return said


def is_content_alone(data: Mapping[str, Any], said: Mapping[str, str]) -> bool:
    """Whether the chunk holds nothing but what it says as content: `with_openai_text` can divide it.

    Token probabilities and usage belong to the chunk as a whole, which cannot be divided then.

    Args:
        data: The chunk.
        said: What `openai_said` reads in it.
    """
    if data.get("usage") or said.keys() != {"content"}:
        return False
    return not any(data["choices"][0].get(key) for key in ("logprobs", "finish_reason"))


def with_openai_text(chunk: Mapping[str, Any], text: str, finish_reason: str | None = None) -> dict[str, Any]:
    """Return a chunk with the names of `chunk` that says `text` alone."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    return {**{key: chunk[key] for key in chunk if key in _NAMES and key != "usage"}, "choices": [choice]}


def openai_texts(chunks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Put together what many chunks say, place by place: each choice, each tool call, each field.

    JSON with escapes, as arguments of tools may be, is read: see `medguard.escapes`.
    """
    places: dict[tuple[Any, ...], list[str]] = {}
    texts: list[str] = []
    for data in chunks:
        texts += strings_in({key: data[key] for key in data if key not in _NAMES and key != "choices"})
        for choice in data["choices"]:
            said = {key: item for key, item in choice.items() if key != "logprobs"}
            for place, text in _leaves(said, (choice.get("index"),)):
                places.setdefault(place, []).append(text)
    for parts in places.values():
        texts += without_escapes("".join(parts))
    return texts


def _leaves(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*place, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            index = item.get("index") if isinstance(item, Mapping) else None
            yield from _leaves(item, (*place, index if isinstance(index, int | float | str) else number))
    elif isinstance(value, str) and value:
        yield place, value
