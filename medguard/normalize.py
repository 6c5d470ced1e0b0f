"""Undo cheap disguises before scoring: invisible characters, look-alikes, leet, spacing, emoji, base64. Pure.

The classifier scores the raw and the normalised text and the worse one decides, so a normalisation that
garbles a legitimate text can cost a false positive but never hide harm. One exception: text spelled out
letter by letter holds no word to judge, and is left out where joining its letters gives words.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = [
    "Form",
    "decode_base64_runs",
    "fold_homoglyphs",
    "forms",
    "join_spaced_letters",
    "normalize",
    "part_symbols",
    "undo_leet",
]

# Cyrillic, Greek and small-capital letters that a reader takes for Latin ones (a subset of the
# confusables of Unicode Technical Standard 39 that occurs in disguised text).
_HOMOGLYPHS: Final = str.maketrans(
    "аеорсухіјѕԁɡһӏмтквнԛԝАВЕКМНОРСТХУІЈЅαβεικνορτυχγηωΑΒΕΖΗΙΚΜΝΟΡΤΥΧᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",
    "aeopcyxijsdghlmtkbhqwABEKMHOPCTXYIJSabeikvoptuxynwABEZHIKMNOPTYXabcdefghijklmnoprstuvwyz",
)
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
# Between wide gaps, where spaced-out text ends its words: single characters throughout.
_SPACED_WORD: Final = re.compile(
    r"(?<=[ \t]{2})\S(?: \S)+(?=[ \t]{2}|$)|^\S(?: \S)+(?=[ \t]{2})", re.MULTILINE
)
_SHORTEST_RUN: Final = 16
_BASE64_RUN: Final = re.compile(rf"[A-Za-z0-9+/_-]{{{_SHORTEST_RUN},}}")
_BASE64_ALPHABET: Final = str.maketrans("-_", "+/")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_BROKEN: Final = "\ufffd"
# Words with at most one other character between them.
_STRETCH: Final = re.compile(rf"(?:[\w .,?!'\n]{{2,}}[^{_BROKEN}]?)+")
# Chance makes one so long in fewer than one of a hundred runs of 32,000 random characters.
_SHORTEST_STRETCH: Final = 20
_READABLE_SHARE: Final = 0.85
# Encodings within encodings come to less than three times the text, unless groupings are made to overlap.
_MOST_DECODED: Final = 4
_FEWEST_LEET_WORDS: Final = 3
# White space as the tokenizer knows it: other control characters it leaves out, which joins what they part.
_TWO_TOGETHER: Final = re.compile(r"[^ \t\n\r]{2}")
# Shorter ones are too often in the vocabulary as pieces of words. Of the letters of honestly spaced questions
# half or more lie in known words of that length, with gaps every two to five letters a quarter in most.
_LONG_WORD: Final = 4
_KNOWN_SHARE: Final = 0.4
_WIDE_GAP: Final = re.compile(r"[ \t]{2,}")
_WORD: Final = re.compile(r"[^\W\d_]+")
# Control and format characters, and marks drawn over a letter: zero-width, bidi, variation selectors,
# strike-through. Marks go also because sorting a long run of them takes NFKC quadratic time.
_UNSEEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Mc", "Me", "Mn"})
# Hangul and Braille blanks; and two Arabic ligatures that NFKC would blow up to 18 and 8 characters.
_UNSEEN: Final = frozenset("\u115f\u1160\u2800\u3164\uffa0\ufdfa\ufdfb")


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


def fold_homoglyphs(text: str) -> str:
    """Replace look-alike letters by Latin ones in words that could be read as Latin.

    A word with any letter that has no Latin look-alike (real Russian or Greek) is left alone.
    """

    def fold(match: re.Match[str]) -> str:
        folded = match.group().translate(_HOMOGLYPHS)
        return folded if folded.isascii() else match.group()

    return text if text.isascii() else _WORD.sub(fold, text)


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


def decode_base64_runs(text: str) -> list[str]:
    """Decode runs that look like base64 and turn out to be readable text, invisible characters left out.

    What touches an encoding, or a cut through it, moves the groups of four characters that are decoded
    together. So each run is read in all four groupings; where none of them is readable text as a whole, the
    long readable stretches are taken.
    """
    payloads: list[str] = []
    for match in _BASE64_RUN.finditer(text):
        run = match.group().translate(_BASE64_ALPHABET)
        groupings = [_bytes_of(run[shift:]) for shift in range(4) if len(run) - shift >= _SHORTEST_RUN]
        whole = next((payload for raw in groupings if (payload := _readable_whole(raw))), None)
        payloads += [whole] if whole else [part for raw in groupings for part in _readable_parts(raw)]
    return payloads


def _bytes_of(run: str) -> bytes:
    """Decode base64 without its padding; a last character that stands for no byte is left out."""
    complete = run[:-1] if len(run) % 4 == 1 else run
    return base64.b64decode(complete + "=" * (-len(complete) % 4))


def _readable_whole(raw: bytes) -> str | None:
    """Return the text of `raw` if all of it is UTF-8, and nearly all letters, digits and punctuation."""
    try:
        seen = _seen(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return None
    readable = sum(char.isalnum() or char in " .,?!'\n" for char in seen)
    return seen if readable >= _READABLE_SHARE * len(seen) else None


def _readable_parts(raw: bytes) -> list[str]:
    """List the stretches of `raw` that read like text for longer than chance makes them."""
    stretches: list[str] = _STRETCH.findall(_seen(raw.decode("utf-8", errors="replace")))
    return [stretch for stretch in stretches if len(stretch) >= _SHORTEST_STRETCH]


def _seen(decoded: str) -> str:
    """Leave out what is invisible, and mark control characters, which text has none of, as broken."""
    return strip_invisible(_CONTROL.sub(_BROKEN, decoded))


def normalize(text: str, is_word: Callable[[str], bool]) -> str:
    """Apply every reversal in turn and return the plain reading of `text`."""
    return _plain(_undisguised(text), is_word)


def _plain(undisguised: str, is_word: Callable[[str], bool]) -> str:
    return part_symbols(undo_leet(undisguised, is_word))


def _undisguised(text: str) -> str:
    """Undo what hides letters but leaves them letters, so that encodings stay whole."""
    return join_spaced_letters(fold_homoglyphs(unicodedata.normalize("NFKC", strip_invisible(text))))


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
    undisguised = _undisguised(text)
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
    """List what texts encode, each payload once; the letters of an encoding may be disguised."""
    return list(dict.fromkeys(found for item in readings for found in decode_base64_runs(item.undisguised)))


def _is_spelled_out(text: str) -> bool:
    """Whether there is nothing but single characters between white space."""
    return _TWO_TOGETHER.search(text) is None


def _consists_of_words(text: str, is_word: Callable[[str], bool]) -> bool:
    """Whether known words hold enough of the letters; where gaps are misplaced or missing they do not."""
    words = _WORD.findall(text)
    known = sum(len(word) for word in words if len(word) >= _LONG_WORD and is_word(word.lower()))
    return known > 0 and known >= _KNOWN_SHARE * sum(map(len, words))


def _same_reading(one: str, other: str) -> bool:
    """Equal up to case and white space, which the tokenizer ignores too."""
    return one.casefold().split() == other.casefold().split()
