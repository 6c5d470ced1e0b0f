"""Split words that the tokenizer would not read, and find the way back to the text as it was. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

__all__ = ["original_offsets", "split_long_words"]

# WordPiece reads a word of over 100 characters as one unknown token: text without spaces would go
# unread. Decomposed Unicode has up to three characters for one, hence a third of that.
_WORD_CHAR: Final = r"[^\s!-/:-@\[-`{-~]"
_LONG_WORD: Final = re.compile(f"{_WORD_CHAR}{{33}}(?={_WORD_CHAR})")


def split_long_words(text: str) -> str:
    """Put a space after every 33 characters of a word that goes on."""
    return _LONG_WORD.sub(r"\g<0> ", text)


def original_offsets(text: str, offsets: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Translate character offsets of `split_long_words(text)` into offsets of `text`.

    Args:
        text: The text before it was split.
        offsets: Half-open ``(start, end)`` pairs, none of which holds an inserted space.

    Returns:
        Half-open pairs in the order given.
    """
    # Where the inserted spaces lie in the split text: each is pushed on by those before it.
    spaces = [match.end() + index for index, match in enumerate(_LONG_WORD.finditer(text))]
    if not spaces:
        return list(offsets)
    return [(start - bisect_left(spaces, start), end - bisect_left(spaces, end)) for start, end in offsets]
