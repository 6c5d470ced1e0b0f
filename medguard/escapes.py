"""JSON inside strings, such as arguments of tools, whose escapes may hide words. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["without_escapes"]

_OPENINGS: Final = ("{", "[", '"')
_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_LETTER: Final = re.compile(r"\\u[0-9A-Fa-f]{4}")
_CHARACTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# Strings of JSON inside strings of JSON are read so deep; a text could go on for ever.
_LEVELS: Final = 4


def without_escapes(text: str, levels: int = _LEVELS) -> Iterator[str]:
    """Yield `text` itself or, where it is JSON with escapes, all that it says, string by string.

    Keys and numbers are told as well, and a string that is such JSON is read in its turn. What merely begins
    like JSON, as arguments that break off do, is given as it is and, where it spells letters by their codes,
    with its escapes undone too.

    Args:
        text: Any text.
        levels: How deep JSON inside JSON is read.
    """
    if not levels or "\\" not in text or text.lstrip()[:1] not in _OPENINGS:
        yield text
        return
    try:
        # As leniently as clients read it; of equal keys all are kept.
        value = json.loads(text, strict=False, parse_int=str, parse_float=str, object_pairs_hook=_flat)
    except (ValueError, RecursionError):
        yield text
        # Other escapes hide no word, and their text twice could be too long to judge.
        if _LETTER.search(text):
            yield _whole(_ESCAPE.sub(_character, text))
        return
    for string in _strings(value):
        yield from without_escapes(_whole(string), levels - 1)


def _flat(pairs: list[tuple[str, Any]]) -> list[Any]:
    return [item for pair in pairs for item in pair]


def _strings(value: Any) -> Iterator[str]:
    """Yield the strings of nested lists in order, however deep they lie."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(reversed(item))
        elif isinstance(item, str) and item:
            yield item


def _character(escape: re.Match[str]) -> str:
    code, letter = escape.groups()
    return chr(int(code, 16)) if code else _CHARACTERS.get(letter, letter)


def _whole(text: str) -> str:
    """Join surrogates that belong together and replace others, with which a text cannot be judged."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
