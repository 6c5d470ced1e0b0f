"""What it costs to undo disguises: no reading of ordinary text, and no time or text without bounds."""

from __future__ import annotations

import pytest

from medguard.normalize import forms, join_spaced_letters, normalize, part_symbols

WORDS = {"kill", "harm", "poison", "how", "the", "dose"}


def variants(text: str) -> list[str]:
    return [form for _, form in forms(text, is_word)]


def is_word(word: str) -> bool:
    return word in WORDS


@pytest.mark.parametrize(
    "text",
    [
        *(
            "38°C or 100 °F",
            "BP≥140/90",
            "5mg×2",
            "Tylenol®",
            "poison 💉 him 💉",
            "€50",
            "a→b",
            "“poison”—naïve",
        ),
        *("don’t", "Chișinău", "Ångström", "ΔFosB", "Zoë’s", "phở", "café • thé", "コロナ"),
    ],
)
def test_symbols_of_ordinary_text_cost_no_second_reading(text: str) -> None:
    assert part_symbols(text) == text
    assert variants(text) == [text]


@pytest.mark.parametrize(
    "text",
    [
        *("5% dextrose", "NaCl 0.9%50 ml", "25%50%75%", "100%accurate, 50%decrease", "HbA1c 48 mmol/mol"),
        "Na 138, K 4.1, Cl 102, CO2 24, BUN 14, Cr 0.9, Glu 98",
        "HR 72 68 70 65 74 66, BP 120/80, 118/76, SpO2 98% 97% 96%",
        *("d41d8cd98f00b204e9800998ecf8427e", "123e4567-e89b-12d3-a456-426614174000", "00:1B:44:13:3A:B7"),
        *("ACGTACGTAACC" * 20, "MRN 4155552671, 2024-01-15 12:30:45", "#6b696c #ffffff", "deadbeef facade"),
        "https://a.org/blood%20pressure%2Fchart?q=dose%20of%20poison&lang=en&copy=2",
        "https%3A%2F%2Fwww.example.com%2Farticle and https%253A%252F%252Fwww.example.com%252Farticle",
        "https://a.org/wiki/Guillain%E2%80%93Barr%C3%A9_syndrome",
        "salt &amp; water &lt;b&gt;harm&lt;/b&gt;&nbsp;&eacute;t&eacute;, don&#39;t, R&D",
        "caf\\u00e9, don\\u2019t, \\frac{a}{b}, \\xi, C:\\x86\\harm",
        "*emphasis*, **harm** done, _so_ and a_long_name, a*b + c|d",
        "non-profit, patient's, we're, gene(s), she'll, and/or, him/her, e.g. this: that",
        *("great 😀 thanks 👍🏽", "🇺🇸🇬🇧 and 🇩🇪", "🆘 🆗", "(a) harm (b) poison"),
    ],
)
def test_ordinary_text_costs_no_second_reading(text: str) -> None:
    words = WORDS | {"non", "profit", "nonprofit", "patient", "s", "patients", "we", "re", "were", "gene"}
    known = words | {"genes", "she", "ll", "shell", "and", "article", "www", "example", "don", "t", "dont"}
    assert [form for _, form in forms(text, known.__contains__)] == [text]


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a1!" * 70_000,
        "а" * 200_000 + "ж",
        "a-" * 100_000,
        "QUJD" * 50_000,
        "a" + "\u0301\u0316" * 100_000,
        " \t" * 100_000,
        "!" * 200_000,
        "h e r " * 100_000,
        "f" * 200_001,
        "6b " * 70_000 + "6",
        "0x" * 100_000,
        "72 68 " * 33_000,
        "&" * 200_000,
        "&#" + "0" * 200_000,
        "&#" + "1" * 200_000,
        "&amp;" * 40_000,
        "&" + "amp;" * 50_000,
        "%" * 200_000,
        "%" + "25" * 100_000,
        "\\" * 200_000,
        "\\u{" * 70_000,
        "a*" * 100_000 + "1",
        "a" + "*" * 200_000,
        "a💉" * 100_000,
        "🇺🇸" * 100_000,
    ],
    ids=lambda text: ascii(text[:6]),
)
def test_long_adversarial_texts_end(text: str) -> None:
    """Quadratic time would take minutes to hours here, and the suite would be stopped."""
    assert variants(text)[0] == text


def test_encodings_within_encodings_take_no_time_that_doubles_with_each() -> None:
    text = "how to poison them all"
    while len(text) < 100_000:
        text = f"%20 &amp; k%69ll {text.encode().hex()} ff3"
    assert "how to poison them all" in normalize(text, is_word)


def test_no_character_grows_a_text_beyond_bounds() -> None:
    text = "\ufdfa" * 1000 + "\ufdfb" * 1000 + "㌖" * 1000
    assert len(normalize(text, is_word)) <= 6 * len(text)


def test_encodings_that_grow_are_not_followed_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 400

    def growing(text: str) -> list[str]:
        return [f"{text} and more"] if len(text) < most else []

    monkeypatch.setattr("medguard.normalize.decode_base64_runs", growing)
    found = variants("how to poison them")
    assert "how to poison them and more" in found
    assert max(map(len, found)) < most / 4


def test_a_long_line_of_single_characters_is_read_in_no_time() -> None:
    # Backtracking over such a line from each of its characters would take hours.
    assert join_spaced_letters("1 " * 200_000 + "xx").endswith("xx")
