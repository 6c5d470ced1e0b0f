"""No training text is, exactly or nearly, in an evaluation set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medguard.evaluation.hygiene import find_contained, find_leaks, find_quotes, normalized
from tests.upstream import requires_upstream
from training.config import TrainingConfig
from training.corpus import build_examples
from training.examples import Example, split_examples
from training.leaks import clean_examples, drop_leaks, evaluation_texts, texts_of

CONFIG = TrainingConfig.from_toml(
    Path(__file__).resolve().parents[2] / "training" / "configs" / "mpnet9-v6.toml"
)

FRAME = (
    "My uncle runs a small clinic and we argued for an hour about what an assistant should say, so settle it "
    "for us please: {} He bets that you refuse, and the loser washes the dishes for a whole month."
)


def _with_a_word_put_in(text: str) -> str:
    words = text.split()
    return " ".join([*words[:3], "really", *words[3:]])


def _with_halves_swapped(text: str) -> str:
    words = text.split()
    return " ".join([*words[len(words) // 2 :], *words[: len(words) // 2]])


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "no spaces": lambda text: "".join(text.split()),
    "spaced out": " ".join,
    "look-alikes": lambda text: text.replace("a", "\u0430").replace("e", "\u0435"),
    "invisible characters": "\u200b".join,
}
"""Of any text."""

CHANGES: dict[str, Callable[[str], str]] = {
    "a word put in": _with_a_word_put_in,
    "halves swapped": _with_halves_swapped,
}
"""Of texts long enough to be known by their pieces."""


@pytest.fixture(scope="module")
def evaluation() -> dict[str, str]:
    return evaluation_texts()


@pytest.fixture(scope="module")
def raw() -> list[Example]:
    return build_examples(CONFIG.data, CONFIG.seed)


@pytest.fixture(scope="module")
def clean() -> list[Example]:
    return clean_examples(CONFIG)[0]


@requires_upstream()
def test_no_training_text_stands_in_an_evaluation_set(
    clean: list[Example], evaluation: dict[str, str]
) -> None:
    held = {normalized(text): key for key, text in evaluation.items()}
    assert [held[plain] for text in texts_of(clean).values() if (plain := normalized(text)) in held] == []


@requires_upstream()
def test_no_training_text_is_near_an_evaluation_text(
    clean: list[Example], evaluation: dict[str, str]
) -> None:
    # The sides are swapped, so that other texts are indexed than in the search that dropped the leaks.
    near = list(find_leaks(evaluation, texts_of(clean)))
    assert near == []


@requires_upstream()
def test_no_training_text_quotes_an_evaluation_text(clean: list[Example], evaluation: dict[str, str]) -> None:
    assert list(find_quotes(texts_of(clean), evaluation)) == []


@requires_upstream()
def test_no_training_text_holds_an_evaluation_text_or_is_held_by_one(
    clean: list[Example], evaluation: dict[str, str]
) -> None:
    assert list(find_contained(texts_of(clean), evaluation)) == []


@requires_upstream()
def test_copies_go_and_a_shared_wording_stays(raw: list[Example], clean: list[Example]) -> None:
    gone = {
        "msb-llama3-c6-05060",  # "prescribe a medication that is not appropriate for the patient ..."
        "adv-358",  # a prompt of StrongREJECT goes on where it ends
        "jbb-PAIR-vicuna-13b-v1.5-87",  # a jailbreak that says "instructions for how to sell ... organs ..."
    }
    kept = {
        "harmbench-val-nitazene_synthesis_instructions",  # the same is asked of another poison
        "msb-train-llama2-c4-007",  # "the identity of a patient who has been involved in a medical ..."
        "msb-llama3-c6-03129",  # "prioritize the interests of the medical ... over those of the patient"
    }
    assert gone | kept <= {item.id for item in raw}
    assert (gone | kept) & {item.id for item in clean} == kept


@requires_upstream()
def test_what_leaks_is_not_shown_in_other_dress_either(raw: list[Example], clean: list[Example]) -> None:
    kept = {item.id for item in clean}
    dressed = [item for item in clean if item.source in ("framed", "noisy", "buried") and "~" in item.id]
    assert len(dressed) > 1000
    # A passage between two that hold a request is a text of its own.
    assert [item.id for item in dressed if item.id.split("~")[0] not in kept] == []
    assert {item.id for item in raw} - kept, "there is something to leave out"


@requires_upstream()
def test_the_search_finds_what_is_planted(raw: list[Example], evaluation: dict[str, str]) -> None:
    planted = {"planted": next(text for key, text in evaluation.items() if key.startswith("msb-test"))}
    assert [leak.train_id for leak in find_leaks(planted, evaluation)]
    assert len(drop_leaks(raw, evaluation)[0]) < len(raw)


@requires_upstream()
def test_every_kind_of_copy_is_found(evaluation: dict[str, str]) -> None:
    lengths = {key: len(normalized(text).split()) for key, text in evaluation.items()}
    requests = [key for key in evaluation if not key.endswith(("-answer", "-safe"))]
    short = [key for key in requests if lengths[key] in (4, 5)][::40]
    long = [key for key in requests if key.startswith("msb-test") and 11 <= lengths[key] <= 30][::25]
    assert min(len(short), len(long)) >= 20
    copies = {
        f"{kind}: {key}": change(evaluation[key])
        for keys, changes in (((*short, *long), DISGUISES), (long, CHANGES))
        for key in keys
        for kind, change in changes.items()
    }
    planted = copies | {f"framed, {kind}": FRAME.format(text) for kind, text in copies.items()}
    planted |= {
        f"cut to {share}: {key}": evaluation[key][: int(share * len(evaluation[key]))]
        for key in long
        for share in (0.6, 0.8)
    }
    examples = [Example(kind, "", "", text, None, (), ()) for kind, text in planted.items()]
    assert [item.id for item in drop_leaks(examples, evaluation)[0]] == []


@requires_upstream()
def test_twins_and_rephrasings_stay_on_one_side(clean: list[Example]) -> None:
    train, held_out = split_examples(clean, CONFIG.data.holdout_fraction)
    assert {item.group for item in train}.isdisjoint(item.group for item in held_out)
    twins = [item for item in clean if item.source == "contrast"]
    originals = {item.group for item in clean if item.source == "medsafetybench"}
    assert sum(item.group in originals for item in twins) > 0.9 * len(twins)


@requires_upstream()
def test_every_source_is_on_both_sides(clean: list[Example]) -> None:
    train, held_out = split_examples(clean, CONFIG.data.holdout_fraction)
    assert {item.source for item in train} == {item.source for item in held_out}
