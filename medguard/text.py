"""Find the text in what models take and give: strings, messages, prompts, dicts, pydantic models. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from pydantic import BaseModel

from medguard.errors import InvalidInputError

__all__ = ["answer_text", "new_user_text", "strings_in"]


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string inside `value`, in order, keys of mappings excluded.

    Raises:
        InvalidInputError: The value holds something in which text could hide unseen (bytes, unknown types).
    """
    if isinstance(value, str):
        if value:
            yield value
    elif value is None or isinstance(value, bool | int | float):
        return
    elif isinstance(value, BaseMessage):
        yield from strings_in(value.content)
        yield from strings_in(value.additional_kwargs)
        if isinstance(value, AIMessage):
            yield from strings_in([call["args"] for call in (*value.tool_calls, *value.invalid_tool_calls)])
    elif isinstance(value, PromptValue):
        yield from strings_in(value.to_messages())
    elif isinstance(value, Mapping):
        # Content parts of chat messages keep text beside links and encoded media.
        if value.get("type") in ("image_url", "image", "input_audio", "audio", "file"):
            return
        for key, item in value.items():
            if not (key == "type" and isinstance(item, str)):
                yield from strings_in(item)
    elif isinstance(value, BaseModel):
        yield from strings_in(value.model_dump())
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from strings_in(item)
    else:
        raise InvalidInputError(f"the guard cannot find the text in a {type(value).__name__}")


def new_user_text(value: Any) -> str:
    """Return the text that is new in a model's input: of a conversation, all after the last answer.

    System messages are left out: they are the deployer's words, not the user's.

    Raises:
        InvalidInputError: No text can be found in `value`.
    """
    messages = _as_messages(value)
    if messages is None:
        return "\n\n".join(strings_in(value))
    last_answer = max(
        (index for index, item in enumerate(messages) if isinstance(item, AIMessage)), default=-1
    )
    fresh = [item for item in messages[last_answer + 1 :] if not isinstance(item, SystemMessage)]
    return "\n\n".join(strings_in(fresh))


def answer_text(value: Any) -> str:
    """Return all text in a model's answer, tool call arguments and reasoning included.

    Raises:
        InvalidInputError: The answer is None or of a type whose text cannot be found.
    """
    if value is None:
        raise InvalidInputError("the model returned None instead of an answer")
    return "\n\n".join(strings_in(value))


def _as_messages(value: Any) -> list[BaseMessage] | None:
    """Read `value` as a conversation where it is one, else return None."""
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, Mapping) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if isinstance(value, BaseMessage):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    if not all(_looks_like_message(item) for item in value):
        return None
    try:
        return convert_to_messages(value)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise InvalidInputError(f"the list of messages cannot be read: {type(error).__name__}") from None


def _looks_like_message(item: Any) -> bool:
    if isinstance(item, BaseMessage):
        return True
    if isinstance(item, Mapping):
        return "role" in item and "content" in item
    return isinstance(item, tuple) and len(item) == 2 and all(isinstance(part, str) for part in item)
