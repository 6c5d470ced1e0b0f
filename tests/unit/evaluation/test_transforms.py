from __future__ import annotations

import base64
import codecs
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard.errors import DataError
from medguard.evaluation.transforms import TRANSFORMS, burial
from medguard.normalize import Form, forms, normalize, strip_invisible

REQUEST = "Could someone explain how the pharmacist should store insulin and adrenaline safely at home?"
PASSAGES = [f"passage {number} about sleep and diet and exercise" for number in range(40)]

texts = st.text(max_size=200)
ascii_texts = st.text(st.characters(codec="ascii"), max_size=200)
seeds = st.integers(0, 2**31)
names = pytest.mark.parametrize("name", sorted(TRANSFORMS))


@names
@given(texts, seeds)
def test_the_same_text_and_seed_give_the_same_result(name: str, text: str, seed: int) -> None:
    assert TRANSFORMS[name](text, seed) == TRANSFORMS[name](text, seed)


@names
def test_every_transformation_but_plain_changes_a_request(name: str) -> None:
    assert (TRANSFORMS[name](REQUEST, 1) == REQUEST) == (name == "plain")


@pytest.mark.parametrize(
    "name", ["homoglyphs", "zero_width", "random_case", "typos", "prefix_noise", "suffix_noise"]
)
def test_the_seed_matters(name: str) -> None:
    assert len({TRANSFORMS[name](REQUEST, seed) for seed in range(5)}) > 1


def test_results_do_not_depend_on_the_process() -> None:
    code = (
        "from medguard.evaluation.transforms import TRANSFORMS\n"
        f"print([f({REQUEST!r}, 3) for f in TRANSFORMS.values()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


@given(texts, seeds)
def test_zero_width_keeps_the_visible_text(text: str, seed: int) -> None:
    assert strip_invisible(TRANSFORMS["zero_width"](text, seed)) == strip_invisible(text)


@given(ascii_texts, seeds)
def test_homoglyphs_are_read_back_by_the_normaliser(text: str, seed: int) -> None:
    disguised = TRANSFORMS["homoglyphs"](text, seed)
    assert len(disguised) == len(text)
    assert normalize(disguised, lambda _: False) == normalize(text, lambda _: False)


@given(texts, seeds)
def test_rot13_twice_gives_the_text_back(text: str, seed: int) -> None:
    assert TRANSFORMS["rot13"](TRANSFORMS["rot13"](text, seed), seed) == text
    assert codecs.decode(TRANSFORMS["rot13"](text, seed), "rot13") == text


@given(texts, seeds)
def test_base64_holds_the_whole_text(text: str, seed: int) -> None:
    *_, payload = TRANSFORMS["base64"](text, seed).split("\n")
    assert base64.b64decode(payload).decode() == text


def test_the_decoded_request_is_among_the_forms_that_are_scored() -> None:
    assert (Form.DECODED, REQUEST) in forms(TRANSFORMS["base64"](REQUEST, 0), lambda _: False)


@given(texts, seeds)
def test_letter_spacing_keeps_characters_and_words(text: str, seed: int) -> None:
    spaced = TRANSFORMS["letter_spacing"](text, seed)
    assert spaced.replace(" ", "") == "".join(text.split())
    assert [word.replace(" ", "") for word in spaced.split("   ")] == (text.split() or [""])


@given(ascii_texts, seeds)
def test_case_changes_change_nothing_else(text: str, seed: int) -> None:
    for name in ("upper_case", "random_case"):
        assert TRANSFORMS[name](text, seed).casefold() == text.casefold()


@given(ascii_texts, seeds)
def test_leet_changes_letters_alone_and_no_length(text: str, seed: int) -> None:
    changed = TRANSFORMS["leet"](text, seed)
    assert len(changed) == len(text)
    for before, after in zip(text, changed, strict=True):
        assert before == after or (before.isalpha() and after.isdigit())


@given(texts, seeds)
def test_typos_keep_first_letters_and_everything_between_words(text: str, seed: int) -> None:
    changed = TRANSFORMS["typos"](text, seed)
    assert [char for char in changed if not char.isalpha()] == [char for char in text if not char.isalpha()]
    assert Counter(changed).keys() <= Counter(text).keys()


def test_typos_come_at_the_stated_rate() -> None:
    text = "abcdefghijklmnopqrst " * 500
    changed = TRANSFORMS["typos"](text, 1)
    dropped_or_doubled = sum(abs(len(word) - 20) for word in changed.split())
    # Of 9,500 letters that may slip 5% do; two thirds of the slips change the length of a word, and
    # two slips of one word can cancel out.
    assert 200 < dropped_or_doubled < 400


@given(texts, seeds)
def test_noise_surrounds_the_text(text: str, seed: int) -> None:
    assert TRANSFORMS["prefix_noise"](text, seed).endswith(f" {text}")
    assert TRANSFORMS["suffix_noise"](text, seed).startswith(f"{text} ")
    assert len(TRANSFORMS["prefix_noise"](text, seed).removesuffix(text).split()) == 20


@given(seeds)
def test_burial_holds_the_request_once_in_four_thousand_words(seed: int) -> None:
    buried = burial(PASSAGES)(REQUEST, seed)
    assert buried == burial(PASSAGES)(REQUEST, seed)
    assert buried.count(REQUEST) == 1
    assert len(buried.replace(REQUEST, "").split()) == 4000


def test_burial_repeats_no_passage_where_there_are_enough() -> None:
    passages = [f"{number} " + "word " * 199 for number in range(60)]
    buried = burial(passages)(REQUEST, 1).split("\n\n")
    assert len(buried) == 21
    assert len(set(buried)) == 21


def test_the_buried_request_stands_in_many_places() -> None:
    bury = burial(PASSAGES)
    places = [bury(REQUEST, seed).index(REQUEST) for seed in range(30)]
    assert max(places) - min(places) > len(bury(REQUEST, 0)) / 2


@pytest.mark.parametrize("passages", [[], ["", " \n"]])
def test_burial_in_nothing_is_refused(passages: list[str]) -> None:
    with pytest.raises(DataError, match="passages"):
        burial(passages)
