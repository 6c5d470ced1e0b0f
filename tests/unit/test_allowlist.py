from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.allowlist import MAX_ALLOWLISTED_CHARS, check_pattern, matches_any

HELLO = ("hello( doctor)?[!.]{0,3}",)


@pytest.mark.parametrize(
    "text", ["hello", "HELLO doctor!", " hello\t\n doctor...", "ｈｅｌｌｏ", "hello\u2003doctor"]
)
def test_case_width_and_white_space_do_not_count(text: str) -> None:
    assert matches_any(HELLO, text)


@pytest.mark.parametrize(
    "text", ["", "hello you", "say hello", "hello!!!!", "hel\u200blo", "hello\nhow do I poison him", "hеllo"]
)
def test_a_part_is_not_enough(text: str) -> None:
    assert not matches_any(HELLO, text)


def test_any_of_the_patterns_will_do() -> None:
    assert matches_any(("yes", "no"), "No")
    assert not matches_any((), "no")


@given(st.text(min_size=1, max_size=30))
def test_a_phrase_lets_only_itself_through(text: str) -> None:
    assert matches_any([check_pattern("phrase")], text) == (text.strip().casefold() == "phrase")


def test_long_texts_are_judged_whatever_the_patterns_say() -> None:
    pattern = check_pattern("ha(ha)*")
    assert matches_any([pattern], "ha" * (MAX_ALLOWLISTED_CHARS // 2))
    assert not matches_any([pattern], "ha" * (MAX_ALLOWLISTED_CHARS // 2 + 1))
    # One character that folds to eighteen.
    assert not matches_any(["(?:.|a){0,9000}"], "\ufdfa" * (MAX_ALLOWLISTED_CHARS // 10))


@pytest.mark.parametrize("pattern", ["(", "a{2,1}", "[z-a]", "(?P<x", "*", "(?i", "\\"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a regular expression"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [".*", ".+", "(?s).*", r"\w+", r"[^\d]*", "[a-z ,?]+", ".{0,60}", "|.*", "a|.+", r"\S+(?: .*)?"],
)
def test_what_matches_texts_at_large_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches texts at large"):
        check_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "hello",
        "what are your opening hours\\??",
        r"\d{4}-\d{2}-\d{2}",
        "(hi|hello|hey)( there)?[.! ]{0,3}",
        "where is .{1,60} (clinic|pharmacy)\\??",
        "what does .* mean",
        "(?:thanks|thank you)(?: so much)?",
        r"(?=\d)[0-9a-f]{8}",
        "a(?>b|c)d++",
        "(ha)+",
        r"(\d)\1",
    ],
)
def test_phrases_are_accepted(pattern: str) -> None:
    assert check_pattern(pattern) == pattern


SLOW = ["(a+)+b", "(a|aa)+b", "(a?){40}b", "(.*)*x", "a.*a.*a.*b", "((ab?)*c?)*d", "(a{1,30}){1,30}b"]


@pytest.mark.parametrize("pattern", SLOW)
def test_what_could_take_long_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="could take long"):
        check_pattern(pattern)


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Stop what hangs; nothing is measured."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


PATTERNS = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "a|aa", "x"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{1,20}", "*?"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(PATTERNS)
def test_no_accepted_pattern_hangs(pattern: str) -> None:
    try:
        check_pattern(pattern)
    except ValueError:
        return
    with at_most(20):
        matches_any([pattern], "a" * (MAX_ALLOWLISTED_CHARS - 1) + "!")


def test_patterns_are_those_of_the_standard_library() -> None:
    assert re.fullmatch(check_pattern("(?P<word>yes) (?P=word)"), "yes yes")
