"""Find the text in what models take and give: strings, messages, prompts, dicts, pydantic models. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from pydantic import BaseModel

from medguard.errors import InvalidInputError
from medguard.escapes import without_escapes

__all__ = ["answer_text", "as_messages", "beside_messages", "has_media", "strings_in", "unpacked"]

_MEDIA_TYPES: Final = frozenset(
    {"image_url", "image", "input_image", "input_audio", "audio", "video", "file", "input_file"}
)
# What a media part tells besides text.
_MEDIA_KEYS: Final = frozenset(
    {"type", "id", "url", "data", "base64", "image_url", "file_url", "file_data", "file_id"}
    | {"media_type", "mime_type", "source_type", "format", "detail"}
)
_ENCODED_KEYS: Final = frozenset({"data", "base64", "file_data"})
_PAYLOAD_KEYS: Final = _ENCODED_KEYS | {"url", "image_url", "file_url", "file_id"}
# A link without a media type holds plain text (RFC 2397), though what is base64 may be anything.
_TEXT_LINKS: Final = ("data:text/", "data:,", "data:;charset=")
_OTHER_TYPES: Final = frozenset(
    {"text", "text-plain", "input_text", "output_text", "refusal", "reasoning", "thinking", "function"}
    | {"tool_use", "tool_call", "tool_call_chunk", "tool_result", "human", "ai", "tool", "system"}
)
_TEXT_PARTS: Final = _OTHER_TYPES - {"text-plain"}  # a document, which may be kept elsewhere
_WITHOUT_TEXT: Final = (bool, int, float, complex, Decimal, UUID, date, time, timedelta)


class _Media:
    """Stands where something that is not text was left out."""


_MEDIA: Final = _Media()


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string inside `value`, in order. Links and encoded media of content parts are left out.

    Keys of mappings are names of fields, unless they hold several words. A file that calls itself text is
    text, without the percent-encoding of data links. JSON in a mapping, such as the arguments of tools, is
    read where it has escapes.

    Raises:
        InvalidInputError: The value holds something in which text could hide unseen (bytes, unknown types).
    """
    return (piece for piece in _pieces(value) if isinstance(piece, str))


def has_media(value: Any) -> bool:
    """Whether `value` holds images, audio, files or parts of an unknown kind, which `strings_in` leaves out.

    Raises:
        InvalidInputError: As for `strings_in`.
    """
    if isinstance(value, BaseMessage) and not isinstance(value, AIMessage):
        parts = value.content if isinstance(value.content, list) else []
        kinds = [part.get("type", "text") for part in parts if isinstance(part, dict)]
        if any(not isinstance(kind, str) or kind not in _TEXT_PARTS for kind in kinds):
            return True
    return any(piece is _MEDIA for piece in _pieces(value))


def _pieces(value: Any) -> Iterator[str | _Media]:
    """Walk through `value`: its strings, and a mark for whatever was left out."""
    if isinstance(value, str):
        if value:
            yield value
    elif value is None or isinstance(value, _WITHOUT_TEXT):
        return
    elif isinstance(value, BaseMessage):
        yield from _pieces([*_texts([value.name]), value.content, value.additional_kwargs])
        if isinstance(value, AIMessage):
            calls = (*value.tool_calls, *value.invalid_tool_calls)
            yield from _pieces([{"args": call["args"]} for call in calls])
    elif isinstance(value, PromptValue):
        yield from _pieces(value.to_messages())
    elif isinstance(value, Mapping):
        yield from _pieces_of_mapping(value)
    elif isinstance(value, BaseModel) or (is_dataclass(value) and not isinstance(value, type)):
        yield from _pieces(unpacked(value))
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _pieces(item)
    elif isinstance(value, Enum):
        yield from _pieces(value.value)
    elif isinstance(value, BaseException):
        # Those of pydantic keep what they say elsewhere.
        yield from _pieces([*(value.args or [str(value)]), vars(value)])
    else:
        raise InvalidInputError(f"the guard cannot find the text in a {type(value).__name__}")


def unpacked(value: Any) -> Any:
    """Turn pydantic models and dataclasses, inside each other and inside containers too, into dicts.

    All that they hold is told, whatever they would leave out when serialised: excluded fields, and those that
    an object has beyond the type its field is declared with.
    """
    if isinstance(value, BaseMessage | PromptValue | str):
        return value
    if isinstance(value, BaseModel):
        computed = {name: getattr(value, name) for name in type(value).model_computed_fields}
        value = {**dict(value), **computed}
    elif is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: unpacked(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [unpacked(item) for item in value]
    return value


def answer_text(value: Any) -> str:
    """Return all text in a model's answer, tool call arguments and reasoning included.

    Raises:
        InvalidInputError: The answer is None or of a type whose text cannot be found.
    """
    if value is None:
        raise InvalidInputError("the model returned None instead of an answer")
    return "\n\n".join(strings_in(value))


def as_messages(value: Any) -> list[BaseMessage] | None:
    """Read `value` as a conversation where it is one, else return None.

    Raises:
        InvalidInputError: It looks like messages, and cannot be read as such.
    """
    if isinstance(value, PromptValue):
        return value.to_messages()
    if _is_state(value):
        value = value["messages"]
    if isinstance(value, BaseMessage):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    if not all(_looks_like_message(item) for item in value):
        return None
    try:
        return convert_to_messages(value)
    except Exception as error:  # noqa: BLE001 - whatever the cause, the text is out of reach
        raise InvalidInputError(f"the list of messages cannot be read: {type(error).__name__}") from None


def beside_messages(value: Any) -> dict[Any, Any]:
    """Return what a mapping that keeps a conversation under ``messages`` holds beside it."""
    return {key: item for key, item in value.items() if key != "messages"} if _is_state(value) else {}


def _is_state(value: Any) -> bool:
    """Whether `value` is a mapping that keeps a conversation under ``messages``, as agents do."""
    return isinstance(value, Mapping) and isinstance(value.get("messages"), list)


def _pieces_of_mapping(value: Mapping[Any, Any], is_media: bool = False) -> Iterator[str | _Media]:
    kind = value.get("type")
    is_media = is_media or (isinstance(kind, str) and kind in _MEDIA_TYPES)
    is_file = _is_text_file(value)
    for key, item in value.items():
        yield from _pieces(_texts([key]))
        is_text = _is_text(item, is_text_file=is_file and key in _ENCODED_KEYS)
        if is_media and key in _MEDIA_KEYS and not is_text:
            if key in _PAYLOAD_KEYS and item:
                yield _MEDIA
        elif isinstance(item, Mapping):
            yield from _pieces_of_mapping(item, is_media)
        elif not (key == "type" and isinstance(item, str) and item in _OTHER_TYPES):
            yield from _pieces(_readable(item))


def _is_text_file(part: Mapping[Any, Any]) -> bool:
    """Whether a part carries text as a file, which the classifier reads through its encoding."""
    kinds = [part.get("mime_type"), part.get("media_type")]
    return any(isinstance(kind, str) and kind.startswith("text/") for kind in kinds)


def _is_text(item: Any, *, is_text_file: bool) -> bool:
    """Whether a media part's value is text, as it is or encoded, and not a link or anything else encoded."""
    if _is_text_link(item) or (is_text_file and isinstance(item, str)):
        return True
    return not isinstance(item, bytes) and bool(_texts([item]))


def _is_text_link(item: Any) -> bool:
    return isinstance(item, str) and item[:14].casefold().startswith(_TEXT_LINKS)


def _readable(item: Any) -> Any:
    """A value of a mapping with what is encoded in it."""
    if not isinstance(item, str):
        return item
    return unquote(item) if _is_text_link(item) else list(without_escapes(item))


def _texts(values: list[Any]) -> list[Any]:
    """Leave out names, links and encodings: strings without a gap between words."""
    return [item for item in values if not (isinstance(item, str) and len(item.split()) <= 1)]


def _looks_like_message(item: Any) -> bool:
    if isinstance(item, BaseMessage):
        return True
    if isinstance(item, Mapping):
        return "role" in item and "content" in item
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)
