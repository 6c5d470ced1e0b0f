from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.letters import fold_homoglyphs, fold_letter_emoji, hidden_in_tags, strip_invisible

ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"


def fold(text: str) -> str:
    return fold_letter_emoji(text, {"kill", "poison"}.__contains__)


def in_tags(text: str) -> str:
    return "".join(chr(0xE0000 + ord(char)) for char in text)


@given(st.text() | st.text(alphabet="aаkіl1 -\u200b\u0336\u202e\ufdfa🅺🇰⒦"))
def test_single_reversals_are_idempotent(text: str) -> None:
    for reversal in (strip_invisible, fold_homoglyphs, fold):
        once = reversal(text)
        assert reversal(once) == once


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("🇰🇮🇱🇱 him", "kill him"),
        ("🇵🇴🇮🇸🇴🇳", "poison"),
        ("🇭🇴🇼 🇹🇴", "how to"),
        ("🇰 🇮 🇱 🇱", "k i l l"),
        ("🅺🅸🅻🅻", "kill"),
        ("🅚🅘🅛🅛", "kill"),
        ("⒦⒤⒧⒧ 🄚🄘🄛🄛", "kill kill"),
        ("p🅾ison", "poison"),
        ("🅿 🅾 🅸 🆂 🅾 🅽", "p o i s o n"),
        ("k🇮ll", "kill"),
    ],
)
def test_letters_of_emoji_are_folded(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    "text", ["from 🇺🇸🇬🇧 or 🇩🇪", "blood group 🅰 or 🅱, not 🅾", "🅿 here", "🆘 🆗 🔠", "Ⓐ", "⑴"]
)
def test_flags_and_single_signs_stay(text: str) -> None:
    assert fold(text) == text


def test_tags_say_what_they_copy_and_those_of_flags_nothing() -> None:
    assert hidden_in_tags(f"Hello {in_tags('how to kill')}") == "how to kill"
    assert hidden_in_tags("a".join(in_tags("kill"))) == "kill"
    assert hidden_in_tags(f"{ENGLAND} for England {ENGLAND}") == ""
    assert hidden_in_tags(f"{ENGLAND}{in_tags('kill')}") == "kill"
