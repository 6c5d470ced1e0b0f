"""Undo cheap disguises before scoring: invisible characters, look-alikes, leet, spacing, base64. Pure.

The classifier scores the raw and the normalised text and the worse one decides, so a normalisation that
garbles a legitimate text can cost a false positive but never hide harm. One exception: text spelled out
letter by letter holds no word to judge, and is left out where joining its letters gives words.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Final

__all__ = [
    "Form",
    "decode_base64_runs",
    "fold_homoglyphs",
    "forms",
    "join_spaced_letters",
    "normalize",
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
# Between wide gaps, where spaced-out text ends its words: single characters throughout.
_SPACED_WORD: Final = re.compile(
    r"(?<=[ \t]{2})\S(?: \S)+(?=[ \t]{2}|$)|^\S(?: \S)+(?=[ \t]{2})", re.MULTILINE
)
_BASE64_RUN: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
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
    return "".join(
        char
        for char in text
        if char.isspace() or not (char in _UNSEEN or unicodedata.category(char) in _UNSEEN_CATEGORIES)
    )


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


def decode_base64_runs(text: str) -> list[str]:
    """Decode runs that look like base64 and turn out to be readable text."""
    payloads: list[str] = []
    for match in _BASE64_RUN.finditer(text):
        run = match.group().rstrip("=")
        try:
            raw = base64.b64decode(
                run + "=" * (-len(run) % 4), altchars=b"-_" if set(run) & set("-_") else None
            )
            decoded = raw.decode("utf-8")
        except (binascii.Error, ValueError):
            continue
        readable = sum(char.isalnum() or char in " .,?!'\n" for char in decoded)
        if readable >= 0.85 * len(decoded):
            payloads.append(decoded)
    return payloads


def normalize(text: str, is_word: Callable[[str], bool]) -> str:
    """Apply every reversal in turn and return the plain reading of `text`."""
    plain = fold_homoglyphs(unicodedata.normalize("NFKC", strip_invisible(text)))
    return undo_leet(join_spaced_letters(plain), is_word)


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
    All payloads of one text make one form, so that their number costs nothing. A payload may itself be
    encoded; each layer is at most three quarters as long as the one around it, so this ends.
    """
    plain = normalize(text, is_word)
    found = [(Form.RAW, text)]
    if _is_spelled_out(text) and _consists_of_words(joined := join_spaced_letters(text), is_word):
        found = [(Form.NORMALISED, joined)]
    if not _same_reading(plain, found[0][1]):
        found.append((Form.NORMALISED, plain))
    # The plain reading may spell digits out, which breaks an encoding; the raw one may disguise its letters.
    readings = dict.fromkeys((plain, strip_invisible(text)))
    layer = list(dict.fromkeys(payload for reading in readings for payload in decode_base64_runs(reading)))
    while layer:
        found.append((Form.DECODED, "\n".join(layer)))
        layer = [inner for payload in layer for inner in decode_base64_runs(payload)]
    return found


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
