"""Undo cheap disguises before scoring: look-alikes, leet, spacing, signs in words, escapes, encodings. Pure.

The classifier scores the raw and the normalised text and the worse one decides, so a normalisation that
garbles a legitimate text can cost a false positive but never hide harm. One exception: text spelled out
letter by letter holds no word to judge, and is left out where joining its letters gives words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from medguard.encodings import decode_base64_runs, undo_hex
from medguard.escapes import blank_escapes, undo_escapes
from medguard.letters import WORD, fold_homoglyphs, fold_letter_emoji, hidden_in_tags, strip_invisible

__all__ = [
    "Form",
    "forms",
    "join_parted_words",
    "join_spaced_letters",
    "normalize",
    "part_symbols",
    "undo_leet",
]

_LEET: Final = str.maketrans("013457@$!", "oieastasi")
_LEET_DIGITS: Final = str.maketrans("013457@$", "oieastas")
_LEET_WORD: Final = re.compile(r"(?<![\w@$!])(?=[\w@$!]*[^\W\d_])(?=[\w@$!]*[013457@$!])[\w@$!]{3,}")
_SPACED_RUN: Final = re.compile(r"(?<!\w)(?:[^\W_](?P<gap>[ .\-_*])(?:[^\W_](?P=gap)){1,}[^\W_])(?!\w)")
# Signs that the tokenizer reads as an ending: a word that bears one stays known.
_SIGNS: Final = r"\xa2-\xa6\xa8\xa9\xac\xae-\xb1\xb4\xb8\xd7\xf7"
# What either ends a word for the tokenizer or can be a part of one that it knows: ASCII, punctuation, and the
# usual letters of Latin, Greek and Cyrillic.
_FAMILIAR: Final = (
    r"\s\x00-\x7f\xa1\xa7\xab\xb6\xb7\xbb\xbf\u2010-\u2051\u2053-\u205e"
    r"\xc0-\xd6\xd8-\xf6\xf8-\u0137\u0139-\u0165\u0168-\u017f\u01a0\u01a1\u01af\u01b0\u01cd-\u01dc\u0200-\u021b"
    r"\u1e00-\u1e9b\u1e9e\u1ea0-\u1ef9\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03ce\u0400-\u040e\u0410-\u045e"
)
_SYMBOLS: Final = re.compile(f"[^{_FAMILIAR}]+")
# One or two letters are more often a unit or a formula (38°C, 5mg÷2) than a word.
_GLUED: Final = re.compile(f"[A-Za-z]{{3}}[^{_FAMILIAR}{_SIGNS}]|[^{_FAMILIAR}][A-Za-z]{{3}}")
# Letters with signs between them, and with one that ordinary words have too: non-profit, patient's, gene(s).
_LETTERS: Final = r"[^\W\d_]++"
_PARTED: Final = re.compile(rf"(?<![^\W_]){_LETTERS}(?:(?:[^\w\s]|_)++{_LETTERS})+(?![^\W_])")
_COMPOUND: Final = re.compile(rf"{_LETTERS}[-\u2010'\u2019(]{_LETTERS}")
_CONTRACTION: Final = re.compile(rf"{_LETTERS}['\u2019]+[^\W\d_]{{1,2}}")
# Between wide gaps, where spaced-out text ends its words: single characters throughout.
_SPACED_WORD: Final = re.compile(
    r"(?<=[ \t]{2})\S(?: \S)+(?=[ \t]{2}|$)|^\S(?: \S)+(?=[ \t]{2})", re.MULTILINE
)
# Encodings within encodings come to less than three times the text, unless groupings are made to overlap.
_MOST_DECODED: Final = 4
_FEWEST_LEET_WORDS: Final = 3
# White space as the tokenizer knows it: other control characters it leaves out, which joins what they part.
_TWO_TOGETHER: Final = re.compile(r"[^ \t\n\r]{2}")
# Shorter ones are too often in the vocabulary as pieces of words. Of the letters of honestly spaced questions
# half or more lie in known words of that length, with gaps every two to five letters a quarter in most.
_LONG_WORD: Final = 4
_KNOWN_SHARE: Final = 0.4
# Where letters are hardly there by chance, shorter words count (how, him), and so do longer ones not known.
_SHORT_WORD: Final = 3
_RARE_WORD: Final = 5
# One of 100,000 runs of so many random bytes can be read.
_BEYOND_CHANCE: Final = 12
_WORD_OR_RUN: Final = re.compile(r"[A-Za-z0-9]{16,}|[^\W\d_]+")
_WIDE_GAP: Final = re.compile(r"[ \t]{2,}")


def join_spaced_letters(text: str) -> str:
    """Join runs of three or more single letters: ``h a r m`` becomes ``harm``; wider gaps end a word.

    Between wide gaps two are enough: ``t o   h a r m`` becomes ``to harm``. Runs without a letter
    (``1-2-3``) stay as they are.
    """

    def join(match: re.Match[str]) -> str:
        joined = match.group().replace(match.groupdict().get("gap", " "), "")
        return joined if any(char.isalpha() for char in joined) else match.group()

    return _WIDE_GAP.sub(" ", _SPACED_RUN.sub(join, _SPACED_WORD.sub(join, text)))


def undo_leet(text: str, is_word: Callable[[str], bool]) -> str:
    """Replace leet digits and signs by letters wherever that turns a token into a known word.

    Drug and gene names with digits (H1N1, B12, A1c) stay as they are, since their readings are no words;
    but where a third of a text is leet for sure, so is the rest, rare words and lone digits included.

    Args:
        text: Any text.
        is_word: Whether a lower-case string is a word of the classifier's vocabulary.
    """

    def read(match: re.Match[str]) -> str:
        whole = match.group()
        # A closing "!" is a letter in few words and the end of a sentence in most.
        for word in dict.fromkeys((whole, whole.rstrip("!"))):
            for one in ("i", "l"):
                plain = word.lower().replace("1", one).translate(_LEET)
                if plain.isalpha() and len(plain) >= 3 and is_word(plain):
                    return plain + whole[len(word) :]
        return whole

    undone = 0

    def count(match: re.Match[str]) -> str:
        nonlocal undone
        plain = read(match)
        undone += plain != match.group()
        return plain

    plain = _LEET_WORD.sub(count, text)
    if undone >= _FEWEST_LEET_WORDS and 3 * undone >= len(text.split()):
        return plain.translate(_LEET_DIGITS)
    return plain


def part_symbols(text: str) -> str:
    """Put spaces around emoji, other symbols and rare letters, where one of them touches a word.

    A word that touches a character the vocabulary lacks is one unknown token, and nothing of it is read.
    """
    if text.isascii() or not _GLUED.search(text):
        return text
    return _SYMBOLS.sub(r" \g<0> ", text)


def join_parted_words(text: str, is_word: Callable[[str], bool]) -> str:
    """Take the signs and emoji out of a word wherever a known one is left: ``po*is*on`` becomes ``poison``.

    Contractions, and compounds of known words such as ``non-profit``, stay as they are.
    """

    def join(match: re.Match[str]) -> str:
        parts = WORD.findall(match.group())
        joined = "".join(parts)
        if len(joined) < _LONG_WORD or not is_word(joined.lower()):
            return match.group()
        is_ordinary = _CONTRACTION.fullmatch(match.group()) or (
            _COMPOUND.fullmatch(match.group()) and all(is_word(part.lower()) for part in parts)
        )
        return match.group() if is_ordinary else joined

    return _PARTED.sub(join, text)


def normalize(text: str, is_word: Callable[[str], bool]) -> str:
    """Apply every reversal in turn and return the plain reading of `text`."""
    return _plain(_undisguised(text, is_word), is_word)


def _plain(undisguised: str, is_word: Callable[[str], bool]) -> str:
    return part_symbols(join_parted_words(undo_leet(undisguised, is_word), is_word))


def _undisguised(text: str, is_word: Callable[[str], bool]) -> str:
    """Undo what hides letters but leaves them letters, so that encodings stay whole."""
    letters = _in_plain_letters(text, is_word)
    if (unescaped := undo_escapes(letters)) != letters:
        decoded = _in_plain_letters(unescaped, is_word)
        blanked = _in_plain_letters(blank_escapes(letters), is_word)
        # Links and HTML have escapes that hide nothing, and a second reading of them would cost for nothing.
        if _gains_words(_plain(decoded, is_word), _plain(blanked, is_word), is_word):
            letters = decoded
    return _without_hex(letters, is_word)


def _in_plain_letters(text: str, is_word: Callable[[str], bool]) -> str:
    seen = unicodedata.normalize("NFKC", fold_letter_emoji(strip_invisible(text), is_word))
    return join_spaced_letters(fold_homoglyphs(seen))


def _without_hex(text: str, is_word: Callable[[str], bool]) -> str:
    """Put in place of hex what it says, its own disguises undone."""

    def read(said: str, is_decimal: bool) -> str | None:
        undisguised = _undisguised(said, is_word)
        by_chance = is_decimal and _same_reading(undisguised, said)
        return undisguised if _says_something(_plain(undisguised, is_word), is_word, by_chance) else None

    return undo_hex(text, read)


def _says_something(plain: str, is_word: Callable[[str], bool], by_chance: bool) -> bool:
    """Whether decoded text is text indeed: long enough where that it is readable is no chance, or words."""
    if by_chance:
        return _consists_of_words(plain, is_word)
    is_rare_word = len(plain) >= _RARE_WORD and plain.isalpha() and plain.islower()
    return is_rare_word or len(plain) >= _BEYOND_CHANCE or _consists_of_words(plain, is_word, _SHORT_WORD)


def _gains_words(text: str, other: str, is_word: Callable[[str], bool]) -> bool:
    """Whether `text` has words, or runs that may be encoded words, more often than `other`."""
    gained = Counter(_WORD_OR_RUN.findall(text)) - Counter(_WORD_OR_RUN.findall(other))
    return any(
        word.isascii() and (len(word) >= _RARE_WORD or (len(word) >= _SHORT_WORD and is_word(word.lower())))
        for word in gained
    )


class Form(StrEnum):
    """What a scored text is to the text that was given."""

    RAW = "raw"
    """The text as it is."""
    NORMALISED = "normalised"
    """Its plain reading."""
    DECODED = "decoded"
    """What it encodes."""


def forms(text: str, is_word: Callable[[str], bool]) -> list[tuple[Form, str]]:
    """List the forms of `text` to score: as it is, its plain reading if that differs, what it encodes.

    Text spelled out letter by letter tells a classifier of words nothing: where joining the letters gives
    words, it is scored joined, not as it is.
    All payloads of one text make one form, and their plain readings another if they differ, so that their
    number costs nothing. A payload may itself be encoded.
    """
    own = _read(text, is_word)
    found = _scored(Form.RAW if own.first == text else Form.NORMALISED, Form.NORMALISED, [own])
    layer, decoded = _payloads([own]), 0
    while layer and decoded <= _MOST_DECODED * len(text):
        decoded += sum(map(len, layer))
        readings = [_read(payload, is_word) for payload in layer]
        found += _scored(Form.DECODED, Form.DECODED, readings)
        layer = _payloads(readings)
    return found


class _Reading(NamedTuple):
    """One text, with fewer and fewer disguises undone."""

    first: str
    """As it is, or joined where it is spelled out."""
    undisguised: str
    """Letters, of which an encoding may consist."""
    plain: str
    """Words."""


def _read(text: str, is_word: Callable[[str], bool]) -> _Reading:
    undisguised = _undisguised(text, is_word)
    first = text
    if _is_spelled_out(text) and _consists_of_words(joined := join_spaced_letters(text), is_word):
        first = joined
    return _Reading(first, undisguised, _plain(undisguised, is_word))


def _scored(first_form: Form, plain_form: Form, readings: list[_Reading]) -> list[tuple[Form, str]]:
    """List the forms of texts that make one: as they are, and their plain readings if those differ."""
    first = "\n".join(item.first for item in readings)
    plain = "\n".join(item.plain for item in readings)
    return [(first_form, first), *([] if _same_reading(plain, first) else [(plain_form, plain)])]


def _payloads(readings: list[_Reading]) -> list[str]:
    """List what texts encode or hide, each payload once; the letters of an encoding may be disguised."""
    found = [
        part
        for item in readings
        for part in (*decode_base64_runs(item.undisguised), hidden_in_tags(item.first))
    ]
    return list(dict.fromkeys(filter(None, found)))


def _is_spelled_out(text: str) -> bool:
    """Whether there is nothing but single characters between white space."""
    return _TWO_TOGETHER.search(text) is None


def _consists_of_words(text: str, is_word: Callable[[str], bool], shortest: int = _LONG_WORD) -> bool:
    """Whether known words hold enough of the letters; where gaps are misplaced or missing they do not."""
    words = WORD.findall(text)
    known = sum(len(word) for word in words if len(word) >= shortest and is_word(word.lower()))
    return known > 0 and known >= _KNOWN_SHARE * sum(map(len, words))


def _same_reading(one: str, other: str) -> bool:
    """Equal up to case and white space, which the tokenizer ignores too."""
    return one.casefold().split() == other.casefold().split()
