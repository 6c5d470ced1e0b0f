from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.escapes import blank_escapes, undo_escapes, without_escapes

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
JSON = st.recursive(
    TEXTS | st.booleans() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def hidden(text: str) -> str:
    """A string of JSON that escapes every character."""
    units = text.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [item for pair in value.items() for part in pair for item in strings(part)]
    if isinstance(value, list):
        return [item for part in value for item in strings(part)]
    return [str(value)] if isinstance(value, str | int) and not isinstance(value, bool) else []


@given(JSON)
def test_all_that_json_says_is_told(value: Any) -> None:
    # With an escape in any case, since other JSON is told as it is.
    text = json.dumps([value, "\n"])
    told = list(without_escapes(text))
    # A string that is JSON itself is read in its turn.
    if not any("\\" in item and item.lstrip()[:1] in ("{", "[", '"') for item in strings(value)):
        assert told == [*strings(value), "\n"]


@given(TEXTS)
def test_no_escape_hides_a_word(word: str) -> None:
    if "\\" not in word:
        assert list(without_escapes(hidden(word))) == [word]
        text = f'{{{hidden(word)}: [{hidden("a")}], "b": 12}}'
        assert list(without_escapes(text)) == [word, "a", "b", "12"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arsenic",
        "\\u0061rsenic",
        '{"a": "no escape"}',
        "[1] no JSON",
        '{"a": "unknown escape \\y"',
        '"my file C:\\new',
        "[1] \\frac{a}{b}",
    ],
)
def test_other_text_is_told_as_it_is(text: str) -> None:
    assert list(without_escapes(text)) == [text]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "\\u0061rsenic',
        '{"a": "\\u0061rsenic"} {"b": 1}',
        '{"a": "\\u0061rsenic", "b": unquoted}',
        '{"a": "\\u0061rsenic\\',
        "[" * 100_000 + '"\\u0061rsenic"',
    ],
    ids=["broken off", "two", "unquoted", "broken escape", "deep"],
)
def test_broken_json_is_told_as_it_is_and_without_escapes(text: str) -> None:
    assert list(without_escapes(text)) == [text, text.replace("\\u0061", "a")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": "\\u0061rsenic\n"}', ["a", "arsenic\n"]),
        ('{"a": "\\u0061rsenic", "a": "water"}', ["a", "arsenic", "a", "water"]),
        ('{"a": "\\u0061rsenic", "n": ' + "1" * 5000 + "}", ["a", "arsenic", "n", "1" * 5000]),
        (json.dumps({"a": json.dumps({"b": "\u00e4"})}), ["a", "b", "\u00e4"]),
        ('["\\ud83d\\ude00\\ud83d"]', ["\U0001f600\ufffd"]),
        ('{"a": "\\ud83d\\ude00\\ud83d', ['{"a": "\\ud83d\\ude00\\ud83d', '{"a": "\U0001f600\ufffd']),
    ],
    ids=["control character", "equal keys", "long number", "JSON in JSON", "surrogates", "broken surrogates"],
)
def test_json_is_read_as_leniently_as_clients_read_it(text: str, told: list[str]) -> None:
    assert list(without_escapes(text)) == told


def test_json_within_json_has_a_bottom() -> None:
    text = "arsenic"
    for _ in range(9):
        text = json.dumps([text])
    (told,) = without_escapes(text)
    assert told.startswith('["')
    assert "arsenic" in told


@given(TEXTS)
def test_characters_are_read_however_they_are_written(text: str) -> None:
    # Those of HTML are read as browsers read them, which have their own idea of control characters.
    spelled = [
        "".join(f"\\u{{{ord(char):x}}}" for char in text),
        "".join(f"\\U{ord(char):08x}" for char in text),
        "".join(f"%{byte:02X}" for byte in text.encode()),
        "".join(f"%25{byte:02x}" for byte in text.encode()),
        hidden(text)[1:-1],
    ]
    if not set(text) & set("&%\\"):
        assert [undo_escapes(written) for written in spelled] == [text] * len(spelled)


@pytest.mark.parametrize(
    "written",
    [
        *(
            "k&#105;ll",
            "k&#x69;ll",
            "k&#X0069ll",
            "k&#000000000105;ll",
            "&#107&#105&#108&#108",
            "k&amp;#105;ll",
        ),
        *("&#38;#107;ill", "k%69ll", "k%2569ll", "k%252569ll", "%6b%69%6c%6c", "k%26%23105;ll"),
        *("k\\u0069ll", "k\\\\u0069ll", "k\\x69ll", "k\\u{69}ll", "k\\U00000069ll"),
    ],
)
def test_escapes_of_a_plain_text_are_undone(written: str) -> None:
    assert undo_escapes(f"how to {written} them") == "how to kill them"
    assert "kill" not in blank_escapes(written)


def test_named_characters_and_halves_of_a_character_are_undone() -> None:
    assert undo_escapes("salt &amp; water &lt;5&nbsp;g, k&shy;ill") == "salt & water <5\xa0g, k\xadill"
    assert undo_escapes("\\ud83d\\ude00") == "\U0001f600"


@pytest.mark.parametrize(
    "text",
    [
        "5% dextrose, 100 %",
        "R&D, AT&T",
        "a=1&b=2",
        "&#;&#x;&;",
        "\\frac \\xi C:\\new",
        "\\U99999999",
        "&nosuch;",
    ],
)
def test_what_is_no_escape_stays(text: str) -> None:
    assert undo_escapes(text) == text
