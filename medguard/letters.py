"""Letters that are not seen, or seen as others: invisible characters, look-alikes, letters of emoji. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

__all__ = ["WORD", "fold_homoglyphs", "fold_letter_emoji", "hidden_in_tags", "strip_invisible"]

WORD: Final = re.compile(r"[^\W\d_]+")
"""Letters in a row."""

# Cyrillic, Greek and small-capital letters that a reader takes for Latin ones (a subset of the
# confusables of Unicode Technical Standard 39 that occurs in disguised text).
_HOMOGLYPHS: Final = str.maketrans(
    "аеорсухіјѕԁɡһӏмтквнԛԝАВЕКМНОРСТХУІЈЅαβεικνορτυχγηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "aeopcyxijsdghlmtkbhqwABEKMHOPCTXYIJSabeikvoptuxynwABEZHIKMNOPTYXabcdefghijklmnoprstuvwyz",
)
# Control and format characters, and marks drawn over a letter: zero-width, bidi, variation selectors,
# strike-through. Marks go also because sorting a long run of them takes NFKC quadratic time.
_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Mc", "Me", "Mn"})
# Hangul and Braille blanks; and two Arabic ligatures that NFKC would blow up to 18 and 8 characters.
_UNSEEN: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufdfa\ufdfb")
_LATIN: Final = "abcdefghijklmnopqrstuvwxyz"
# Where alphabets start that NFKC puts into parentheses: one letter each.
_IN_PARENTHESES: Final = ("\u249c", "\U0001f110")
# White letters on discs and squares, and the regional indicators, of which two make a flag.
_DISCS: Final = "\U0001f150-\U0001f169\U0001f170-\U0001f189"
_INDICATORS: Final = "\U0001f1e6-\U0001f1ff"
_LETTER_EMOJI: Final = ("\U0001f150", "\U0001f170", "\U0001f1e6")
_FLAGS: Final = re.compile(f"[{_INDICATORS}]+")
# A, B, O and P on squares also stand alone, for blood groups and car parks.
_SPELLS: Final = re.compile(
    rf"[{_DISCS}]{{2}}|[A-Za-z][{_DISCS}]|[{_DISCS}][A-Za-z]|(?![\U0001f170\U0001f171\U0001f17e\U0001f17f])[{_DISCS}]"
)
# An invisible copy of ASCII, in use for the flags of England, Scotland and Wales.
_TAGS: Final = re.compile("[\U000e0020-\U000e007e]+")
_FLAG_TAGS: Final = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{1,6}\U000e007f")
_TAG_OFFSET: Final = 0xE0000


def _alphabets(starts: tuple[str, ...]) -> dict[int, str]:
    return {ord(start) + index: letter for start in starts for index, letter in enumerate(_LATIN)}


_PARENTHESIZED: Final = _alphabets(_IN_PARENTHESES)
_EMOJI: Final = _alphabets(_LETTER_EMOJI)


def strip_invisible(text: str) -> str:
    """Remove what a reader does not see or reads past: control and format characters, loose marks."""
    if text.isascii() and text.isprintable():
        return text
    unseen = [
        char
        for char in set(text)
        if not char.isspace() and (char in _UNSEEN or unicodedata.category(char) in _UNSEEN_CATEGORIES)
    ]
    return text.translate(dict.fromkeys(map(ord, unseen)))


def hidden_in_tags(text: str) -> str:
    """Return what tag characters say, which nobody sees but models read; flags have some too."""
    if text.isascii():
        return ""
    tags = "".join(_TAGS.findall(_FLAG_TAGS.sub("", text)))
    return "".join(chr(ord(tag) - _TAG_OFFSET) for tag in tags).strip()


def fold_letter_emoji(text: str, is_word: Callable[[str], bool]) -> str:
    """Replace letters in discs, squares and parentheses, and regional indicators, by plain ones.

    Flags and single signs, such as that of a blood group, stay, unless there are letters in the text that
    can be nothing else.

    Args:
        text: Any text, without invisible characters.
        is_word: Whether a lower-case string is a word of the classifier's vocabulary.
    """
    if text.isascii():
        return text
    text = text.translate(_PARENTHESIZED)
    flags = _FLAGS.findall(text)
    # Flags have two letters each.
    spells = any(len(run) % 2 or (len(run) > 2 and is_word(run.translate(_EMOJI))) for run in flags)
    return text.translate(_EMOJI) if spells or _SPELLS.search(text) else text


def fold_homoglyphs(text: str) -> str:
    """Replace look-alike letters by Latin ones in words that could be read as Latin.

    A word with any letter that has no Latin look-alike (real Russian or Greek) is left alone.
    """

    def fold(match: re.Match[str]) -> str:
        folded = match.group().translate(_HOMOGLYPHS)
        return folded if folded.isascii() else match.group()

    return text if text.isascii() else WORD.sub(fold, text)
