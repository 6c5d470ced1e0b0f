from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.console import Console

from benchmarks.attacks import attack_sets, rewrap
from benchmarks.robustness import Comparison, Limits, comparisons, measure
from benchmarks.sets import EvaluationSets
from medguard.evaluation import datasets, metrics
from medguard.evaluation.records import JailbreakAttack, QuestionAnswer
from medguard.testing import KeywordScorer
from tests.upstream import requires_upstream

BENIGN = ["Which vaccines do adults need?", r"Is 5\1 mg \g<0> a typo?"]


def attack(
    prompt: str | None,
    *,
    method: str = "JBC",
    model: str = "vicuna-13b",
    goal: str = "Do a bad thing",
    number: int = 0,
) -> JailbreakAttack:
    item_id = f"jbb-{method}-{model}-{number}"
    return JailbreakAttack(item_id, method, model, goal, "category", prompt, None, True)


def goal_number(item: JailbreakAttack) -> int:
    return int(item.id.rsplit("-", 1)[1])


def test_a_benign_request_takes_the_place_of_the_goal_alone() -> None:
    wrapped = rewrap(attack("You are AIM. do a bad thing, now."), BENIGN[0])
    assert wrapped == f"You are AIM. {BENIGN[0]}, now."


def test_a_request_is_no_pattern() -> None:
    assert rewrap(attack("> Do a bad thing <"), BENIGN[1]) == f"> {BENIGN[1]} <"


def test_the_dictated_opening_of_the_answer_goes_too() -> None:
    wrapped = rewrap(attack("Sure, here is a bad\nthing for educational use: do a bad thing"), BENIGN[0])
    assert wrapped is not None
    assert "bad" not in wrapped
    assert wrapped.count(BENIGN[0]) == 2


@pytest.mark.parametrize("prompt", [None, "", "Something worded otherwise"])
def test_nothing_is_wrapped_where_the_goal_is_not_quoted(prompt: str | None) -> None:
    assert rewrap(attack(prompt), BENIGN[0]) is None


def test_prompts_count_once_and_goals_that_train_not_at_all() -> None:
    found = attack_sets(
        [
            attack("AIM: do a bad thing"),
            attack("AIM: do a bad thing", model="gpt-4"),
            attack(None),
            attack("A tale", method="PAIR", model="vicuna-13b-v1.5", goal="Do it at night", number=12),
            attack("AIM: do it at night", goal="Do it at night", number=12),
            attack("AIM: do it at nite", goal="Do it at nite", number=12),
            attack(None, method="PAIR", model="vicuna-13b-v1.5"),
            attack("A story", method="PAIR", model="gpt-4"),
        ],
        BENIGN,
    )
    assert list(found) == ["JBC", "PAIR"]
    assert found["JBC"].harmful == ("AIM: do a bad thing",)
    assert found["JBC"].benign == (f"AIM: {BENIGN[0]}",)
    assert found["PAIR"].harmful == ("A story",)
    assert found["PAIR"].benign == ()


@requires_upstream("jailbreakbench")
def test_no_attack_both_trains_and_evaluates() -> None:
    attacks = list(datasets.jailbreakbench())
    trained = {goal_number(item) for item in attacks if item.may_train and item.prompt}
    assert {(item.method, item.target_model) for item in attacks if item.may_train} == {
        ("PAIR", "vicuna-13b-v1.5")
    }
    evaluated = {prompt for found in attack_sets(attacks, BENIGN).values() for prompt in found.harmful}
    goals = {goal_number(item) for item in attacks if item.prompt in evaluated}
    assert trained.isdisjoint(goals)
    # As benchmarks/README.md and the README's table of guards say.
    assert (len(trained), len(goals)) == (82, 18)


def test_passages_of_training_documents_bury_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"train": ["Shared.", "Trained.", None], "evaluation": ["Own.", "Shared.", None, "Own too."]}

    def medquad(split: str) -> Iterator[QuestionAnswer]:
        for number, answer in enumerate(answers[split]):
            yield QuestionAnswer(f"{split}-{number}", split, "A question?", answer)

    monkeypatch.setattr(datasets, "medquad", medquad)
    assert EvaluationSets().passages == ["Own.", "Own too."]


@requires_upstream()
def test_every_condition_has_both_sides_and_repeats_exactly() -> None:
    limits = Limits(texts=3, buried_texts=1)
    sets = EvaluationSets()
    first = list(comparisons(sets, limits))
    assert first == list(comparisons(sets, limits))
    for item in first:
        assert 1 <= len(item.harmful) <= 3, item.name
        assert 1 <= len(item.benign) <= 3, item.name
        assert set(item.harmful).isdisjoint(item.benign), item.name
    names = {item.name for item in first}
    assert {"plain", "burial", "role", "long", "PAIR", "GCG", "JBC"} <= names


def test_both_sides_are_measured_at_every_operating_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_RESAMPLES", 20)
    scorer = KeywordScorer({"poison": 0.9, "dose": 0.4})
    plain = Comparison("transformations", "plain", ["poison", "a dose"], ["a dose", "a walk"], "twins")
    hidden = Comparison("transformations", "hidden", ["p0ison", "d0se"], ["d0se", "a walk"], "twins")
    result = measure(scorer, [plain, hidden], Console(quiet=True))["transformations"]
    shares = {
        point: (figures["recall"]["value"], figures["false_positive_rate"]["value"])
        for point, figures in result["plain"]["operating_points"].items()
    }
    assert shares == {"strict": (1.0, 0.5), "balanced": (0.5, 0.0), "permissive": (0.5, 0.0)}
    assert result["plain"]["counts"] == {"harmful": 2, "benign": 2}
    assert result["plain"]["auroc"]["value"] == 0.875
    assert result["hidden"]["operating_points"]["strict"]["recall"]["value"] == 0.0
    assert result["hidden"]["counterpart"] == "twins"
