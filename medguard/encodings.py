"""Runs of base64 and of hex in a text, and what they say. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

from medguard.escapes import undo_escapes
from medguard.letters import strip_invisible

__all__ = ["decode_base64_runs", "undo_hex"]

_SHORTEST_RUN: Final = 16
_BASE64_RUN: Final = re.compile(rf"[A-Za-z0-9+/_-]{{{_SHORTEST_RUN},}}")
_BASE64_ALPHABET: Final = str.maketrans("-_", "+/")
_DIGIT: Final = "[0-9A-Fa-f]"
_BETWEEN: Final = r"[\s,;:-]{1,2}"
# Bytes one by one, 68 6f 77 or 0x68, 0x6f, 0x77; or several together, 686f77 or 686f 7720 74, where one digit
# more moves the pairs.
_HEX_RUN: Final = re.compile(
    rf"(?<![^\W_])(?:0[xX])?{_DIGIT}{{2}}(?:(?:{_BETWEEN}(?:0[xX])?|0[xX]){_DIGIT}{{2}}){{3,}}(?![^\W_])"
    rf"|(?:0[xX])?(?:{_DIGIT}{{2}}){{2,}}+(?:{_BETWEEN}(?:0[xX])?(?:{_DIGIT}{{2}}){{2,}}+)*+"
    rf"(?:{_BETWEEN}{_DIGIT}{{2}}(?![^\W_])|{_DIGIT})?"
)
_NO_DIGIT: Final = re.compile(r"0[xX]|[\s,;:-]")
_FEWEST_BYTES: Final = 4
# Words beside a run may consist of such digits too (be, decade, 2019); they are seldom text when decoded.
_NO_TEXT: Final = bytes(byte for byte in range(256) if not 0x20 < byte < 0x7F)
_WIDE: Final = re.compile(rb"\0?(?:[^\0]\0){3,}[^\0]?")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_BROKEN: Final = "\ufffd"
# Words with at most one other character between them.
_STRETCH: Final = re.compile(rf"(?:[\w .,?!'\n]{{2,}}[^{_BROKEN}]?)+")
# Chance makes one so long in fewer than one of a hundred runs of 32,000 random characters.
_SHORTEST_STRETCH: Final = 20
_READABLE_SHARE: Final = 0.85


def decode_base64_runs(text: str) -> list[str]:
    """Decode runs that look like base64 and turn out to be readable text, invisible characters left out.

    What touches an encoding, or a cut through it, moves the groups of four characters that are decoded
    together. So each run is read in all four groupings; where none of them is readable text as a whole, the
    long readable stretches are taken.
    """
    payloads: list[str] = []
    for match in _BASE64_RUN.finditer(text):
        run = match.group().translate(_BASE64_ALPHABET)
        payloads += _readable(
            [_bytes_of(run[shift:]) for shift in range(4) if len(run) - shift >= _SHORTEST_RUN]
        )
    return payloads


def undo_hex(text: str, read: Callable[[str, bool], str | None]) -> str:
    """Put something in place of each run that looks like hex and turns out to be readable text.

    Runs are read in both pairings of their digits, and as `decode_base64_runs` reads.

    Args:
        text: Any text.
        read: Gives what to put for a decoded run, None to leave it as it is. It is told also whether all
            digits were decimal: numbers side by side may happen to spell letters.
    """

    def put(match: re.Match[str]) -> str:
        digits = _NO_DIGIT.sub("", match.group())
        pairings = [digits[shift : len(digits) - (len(digits) - shift) % 2] for shift in range(2)]
        raws = [bytes.fromhex(pairing).strip(_NO_TEXT) for pairing in pairings]
        said = " ".join(_readable([raw for raw in raws if len(raw) >= _FEWEST_BYTES]))
        put_in = read(said, digits.isdecimal()) if said else None
        return match.group() if put_in is None else f" {put_in} "

    return _HEX_RUN.sub(put, text)


def _readable(groupings: list[bytes]) -> list[str]:
    """Read the first of `groupings` that is readable as a whole, else the long readable stretches of all."""
    groupings = [_without_zeros(raw) for raw in groupings]
    whole = next((payload for raw in groupings if (payload := _readable_whole(raw))), None)
    return [whole] if whole else [part for raw in groupings for part in _readable_parts(raw)]


def _bytes_of(run: str) -> bytes:
    """Decode base64 without its padding; a last character that stands for no byte is left out."""
    complete = run[:-1] if len(run) % 4 == 1 else run
    return base64.b64decode(complete + "=" * (-len(complete) % 4))


def _without_zeros(raw: bytes) -> bytes:
    """Turn UTF-16 into UTF-8: of Latin letters, whatever the order of its bytes, every other byte is zero."""
    marked = raw.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    return _WIDE.sub(lambda run: run.group().replace(b"\0", b"").decode("latin-1").encode(), marked)


def _readable_whole(raw: bytes) -> str | None:
    """Return the text of `raw` if all of it is UTF-8, and nearly all letters, digits and punctuation.

    Where it is not, it may be so without its escapes, which take many signs.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return next((seen for seen in (_seen(text), _seen(undo_escapes(text))) if _is_readable(seen)), None)


def _is_readable(text: str) -> bool:
    readable = sum(char.isalnum() or char in " .,?!'\n" for char in text)
    return readable >= _READABLE_SHARE * len(text)


def _readable_parts(raw: bytes) -> list[str]:
    """List the stretches of `raw` that read like text for longer than chance makes them."""
    stretches: list[str] = _STRETCH.findall(_seen(raw.decode("utf-8", errors="replace")))
    return [stretch for stretch in stretches if len(stretch) >= _SHORTEST_STRETCH]


def _seen(decoded: str) -> str:
    """Leave out what is invisible, and mark control characters, which text has none of, as broken."""
    return strip_invisible(_CONTROL.sub(_BROKEN, decoded))
