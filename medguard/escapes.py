"""Escapes that may hide words: those of JSON inside strings, of HTML, of programs and of links. Pure."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from html import unescape
from typing import Any, Final
from urllib.parse import unquote

__all__ = ["blank_escapes", "undo_escapes", "without_escapes"]

_OPENINGS: Final = ("{", "[", '"')
_ESCAPE: Final = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_LETTER: Final = re.compile(r"\\u[0-9A-Fa-f]{4}")
_CHARACTERS: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
# Strings of JSON inside strings of JSON are read so deep; a text could go on for ever.
_LEVELS: Final = 4
_HEX: Final = "[0-9A-Fa-f]"
# How a plain text may write a character: &#107; &#x6b; &shy; as HTML does, %6b %256b as links do,
# \u006b \u{6b} \U0000006b \x6b as programs do. No character has a longer number.
_WRITTEN: Final = re.compile(
    rf"&(?:#0*+[0-9]{{1,7}};?|#[xX]0*+{_HEX}{{1,6}};?|[A-Za-z][A-Za-z0-9]{{1,31}};)"
    rf"|(?:%(?:25)*{_HEX}{{2}})+"
    rf"|(?<!\\)\\++(?:u\{{({_HEX}{{1,6}})\}}|u({_HEX}{{4}})|U({_HEX}{{8}})|x({_HEX}{{2}}))"
)
_NESTED_PERCENT: Final = re.compile(rf"%(?:25)+(?={_HEX}{{2}})")


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


def undo_escapes(text: str) -> str:
    """Put in place of each escape of HTML, programs and links the character that it stands for.

    What comes of it may hold escapes in its turn, and is read again.
    """
    for _ in range(_LEVELS):
        plainer = _whole(_WRITTEN.sub(_meant, text))
        if plainer == text:
            break
        text = plainer
    return text


def blank_escapes(text: str) -> str:
    """Put a blank in place of each of the escapes that `undo_escapes` undoes."""
    return _WRITTEN.sub(" ", text)


def _meant(escape: re.Match[str]) -> str:
    written = escape.group()
    if written[0] == "&":
        return unescape(written)
    if written[0] == "%":
        return unquote(_NESTED_PERCENT.sub("%", written))
    code = int(next(filter(None, escape.groups())), 16)
    return chr(code) if code <= sys.maxunicode else written
