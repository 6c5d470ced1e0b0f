"""No training text is, exactly or nearly, in an evaluation set."""

from __future__ import annotations

from pathlib import Path

import pytest

from medguard.evaluation.hygiene import find_leaks, find_quotes, normalized
from tests.upstream import requires_upstream
from training.config import TrainingConfig
from training.corpus import build_examples
from training.examples import Example, split_examples
from training.leaks import clean_examples, drop_leaks, evaluation_texts, texts_of

CONFIG = TrainingConfig.from_toml(
    Path(__file__).resolve().parents[2] / "training" / "configs" / "mpnet9-v4.toml"
)


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
