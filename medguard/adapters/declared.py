"""What a model says that it returns, by its annotation; refusals before the first answer are made like it."""

from __future__ import annotations

import inspect
from collections import abc
from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from langchain_core.messages import AIMessage, BaseMessage

__all__ = ["declared_answer", "returned"]

_GIVE_FIRST: Final = (
    abc.Awaitable,
    abc.Iterable,
    abc.Iterator,
    abc.Generator,
    abc.AsyncIterable,
    abc.AsyncIterator,
    abc.AsyncGenerator,
)


def declared_answer(declared: Any) -> type | None:
    """Return AIMessage or str, by the type that answers are declared to have; None for any other."""
    classes = list(_members(declared))
    if any(issubclass(member, BaseMessage) for member in classes):
        return AIMessage
    return str if str in classes else None


def returned(function: Callable[..., Any]) -> Any:
    """Return the annotation of what `function` returns; Any where it has none that can be evaluated."""
    try:
        found = inspect.signature(function, eval_str=True).return_annotation
    except Exception:  # noqa: BLE001 - annotations are code, and builtins have no signature
        return Any
    return Any if found is inspect.Signature.empty else found


def _members(declared: Any) -> Iterator[type]:
    """Yield the classes in a type; chat models declare a union of annotated unions of messages."""
    origin = get_origin(declared)
    if origin is Annotated or origin in _GIVE_FIRST:
        for member in get_args(declared)[:1]:  # none of a bare generic
            yield from _members(member)
    elif origin in (Union, UnionType):
        for member in get_args(declared):
            yield from _members(member)
    elif isinstance(declared, type):
        yield declared
