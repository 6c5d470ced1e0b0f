from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard import (
    Action,
    InvalidInputError,
    ModelError,
    OnError,
    Outcome,
    Policy,
    PolicyError,
    Scores,
    Stage,
    Verdict,
)
from medguard.bundle import OperatingPoint
from medguard.decision import decide, failure, require_checkable, resolve_operating_point, skipped, worst
from medguard.errors import InputTooLargeError
from medguard.principles import category_names
from medguard.testing import make_scores

PROBABILITIES = st.floats(0.0, 1.0)
POINT = OperatingPoint(prompt_threshold=0.6, response_threshold=0.4, target_false_positive_rate=0.02)
POINTS = st.builds(
    OperatingPoint,
    prompt_threshold=PROBABILITIES,
    response_threshold=PROBABILITIES,
    target_false_positive_rate=PROBABILITIES,
)
POLICIES = st.builds(
    Policy,
    prompt_threshold=st.none() | PROBABILITIES,
    response_threshold=st.none() | PROBABILITIES,
    action=st.sampled_from(Action),
)


def scores_of(stage: Stage, score: float, principle: int | None = 8) -> Scores:
    return make_scores(score, principle=principle, has_answer=stage is Stage.RESPONSE)


@given(POLICIES, POINTS, st.sampled_from(Stage), PROBABILITIES, PROBABILITIES)
def test_decision_is_monotone_in_the_score(
    policy: Policy, point: OperatingPoint, stage: Stage, one: float, other: float
) -> None:
    low, high = (
        decide(scores_of(stage, score), stage, policy, point, "id") for score in sorted((one, other))
    )
    assert high.tripped or not low.tripped
    assert low.allowed or not high.allowed


@given(POLICIES, POINTS, st.sampled_from(Stage), PROBABILITIES)
def test_stopped_exactly_when_the_action_is_to_block_or_redact(
    policy: Policy, point: OperatingPoint, stage: Stage, score: float
) -> None:
    verdict = decide(scores_of(stage, score), stage, policy, point, "id")
    to_redact_blocks = policy.action is Action.REDACT and stage is Stage.PROMPT
    action = Action.BLOCK if to_redact_blocks else policy.action
    assert verdict.allowed == (verdict.action not in (Action.BLOCK, Action.REDACT))
    assert verdict.tripped == (score >= (verdict.threshold or 0.0))
    assert verdict.action is (action if verdict.tripped else Action.ALLOW)


@pytest.mark.parametrize(("stage", "threshold"), [(Stage.PROMPT, 0.6), (Stage.RESPONSE, 0.4)])
def test_threshold_itself_trips(stage: Stage, threshold: float) -> None:
    at = decide(scores_of(stage, threshold), stage, Policy(), POINT, "id")
    below = decide(scores_of(stage, threshold - 1e-9), stage, Policy(), POINT, "id")
    assert (at.tripped, below.tripped) == (True, False)
    assert (at.threshold, at.operating_point, at.classifier_id) == (threshold, "balanced", "id")


def test_threshold_by_hand_overrides_the_operating_point() -> None:
    verdict = decide(scores_of(Stage.PROMPT, 0.7), Stage.PROMPT, Policy(prompt_threshold=0.8), POINT, "id")
    assert (verdict.tripped, verdict.threshold, verdict.operating_point) == (False, 0.8, None)


@pytest.mark.parametrize(("principle", "category"), [(4, "principle_4"), (None, "general_harm")])
def test_the_category_at_stake_chooses_the_action(principle: int | None, category: str) -> None:
    policy = Policy(category_actions={category: Action.SHADOW})
    verdict = decide(scores_of(Stage.PROMPT, 0.9, principle), Stage.PROMPT, policy, POINT, "id")
    assert (verdict.allowed, verdict.action, verdict.principle) == (True, Action.SHADOW, principle)


@pytest.mark.parametrize(("stage", "action"), [(Stage.PROMPT, Action.BLOCK), (Stage.RESPONSE, Action.REDACT)])
def test_answers_are_redacted_and_requests_blocked(stage: Stage, action: Action) -> None:
    policy = Policy(category_actions={"principle_4": Action.REDACT})
    verdict = decide(scores_of(stage, 0.9, 4), stage, policy, POINT, "id")
    assert (verdict.action, verdict.allowed, verdict.tripped) == (action, False, True)


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize(("category", "number"), [("principle_4", 4), ("general_harm", None)])
def test_a_category_trips_at_its_own_threshold(stage: Stage, category: str, number: int | None) -> None:
    scores = replace(
        make_scores(0.1, principle=8, has_answer=stage is Stage.RESPONSE),
        principles=(0.0, 0.0, 0.0, 0.3 if number else 0.0, 0.0, 0.0, 0.0, 0.35, 0.0),
        general_harm=0.0 if number else 0.3,
    )
    at = decide(scores, stage, Policy(category_thresholds={category: 0.3}), POINT, "id")
    above = decide(scores, stage, Policy(category_thresholds={category: 0.31}), POINT, "id")
    assert (at.tripped, at.score, at.threshold, at.principle) == (True, 0.3, 0.3, number)
    assert (at.category, at.operating_point, at.allowed) == (category, None, False)
    assert (above.tripped, above.score, above.operating_point) == (False, 0.1, "balanced")


@pytest.mark.parametrize("category_action", Action)
@pytest.mark.parametrize("action", Action)
def test_the_strictest_action_decides(action: Action, category_action: Action) -> None:
    scores = replace(
        make_scores(0.9, principle=8, has_answer=True), principles=(0.0, 0.7, 0, 0.0, 0, 0, 0, 0.9, 0)
    )
    policy = Policy(
        action=action,
        category_actions={"principle_2": category_action},
        category_thresholds={"principle_2": 0.5},
    )
    verdict = decide(scores, Stage.RESPONSE, policy, POINT, "id")
    order = [Action.ALLOW, Action.SHADOW, Action.ANNOTATE, Action.REDACT, Action.BLOCK]
    assert verdict.action is max(action, category_action, key=order.index)
    stricter = order.index(category_action) > order.index(action)
    assert (verdict.score, verdict.principle) == ((0.7, 2) if stricter else (0.9, 8))


def test_of_equally_strict_categories_the_highest_score_decides() -> None:
    scores = replace(make_scores(0.1), principles=(0.2, 0.4, 0.3, 0, 0, 0, 0, 0, 0))
    policy = Policy(category_thresholds={"principle_1": 0.1, "principle_2": 0.1, "principle_3": 0.1})
    assert decide(scores, Stage.PROMPT, policy, POINT, "id").principle == 2


THRESHOLDS = st.dictionaries(st.sampled_from(category_names()), PROBABILITIES)


@given(st.tuples(*[PROBABILITIES] * 9), PROBABILITIES, PROBABILITIES, THRESHOLDS)
def test_trips_exactly_when_some_threshold_is_reached(
    principles: tuple[float, ...], general_harm: float, score: float, thresholds: dict[str, float]
) -> None:
    scores = replace(make_scores(score), principles=principles, general_harm=general_harm)
    values = dict(zip(category_names(), (*principles, general_harm), strict=True))
    verdict = decide(scores, Stage.PROMPT, Policy(category_thresholds=thresholds), POINT, "id")
    reached = any(values[category] >= threshold for category, threshold in thresholds.items())
    assert verdict.tripped == (reached or score >= POINT.prompt_threshold)
    assert verdict.allowed != verdict.tripped


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1, 1.1])
@pytest.mark.parametrize("stage", Stage)
def test_scores_out_of_range_give_no_verdict(stage: Stage, score: float) -> None:
    with pytest.raises(ValueError, match="illegal verdict"):
        decide(scores_of(stage, score), stage, Policy(), POINT, "id")


@pytest.mark.parametrize("value", ["", "  ", "\n\t\u2003", None, b"x", 3, ["x"], "a\ud800b"], ids=ascii)
def test_what_no_classifier_can_judge_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError):
        require_checkable(value, 100)


def test_text_up_to_the_limit_is_checkable() -> None:
    assert require_checkable("x" * 100, 100) == "x" * 100
    with pytest.raises(InputTooLargeError, match="101 characters is over"):
        require_checkable("x" * 101, 100)


def test_unknown_operating_point_names_the_known() -> None:
    with pytest.raises(PolicyError, match="'lenient' is unknown to this bundle; it has balanced"):
        resolve_operating_point(Policy(operating_point="lenient"), {"balanced": POINT})
    assert resolve_operating_point(Policy(), {"balanced": POINT}) is POINT


@pytest.mark.parametrize("on_error", OnError)
def test_failure_blocks_unless_told_otherwise(on_error: OnError) -> None:
    verdict = failure(ValueError("the text"), Stage.RESPONSE, Policy(on_error=on_error), "id")
    assert verdict.outcome is Outcome.FAILED
    assert verdict.allowed == (on_error is OnError.ALLOW)
    assert verdict.error == "ValueError"


def test_failure_keeps_the_advice_of_the_library() -> None:
    verdict = failure(ModelError("advice"), Stage.PROMPT, Policy(), None)
    assert verdict.error == "ModelError: advice"


def test_skipped_is_allowed_without_a_score() -> None:
    verdict = skipped(Stage.PROMPT)
    assert (verdict.allowed, verdict.outcome, verdict.score) == (True, Outcome.SKIPPED, None)


def judged(score: float, action: Action = Action.BLOCK) -> Verdict:
    return decide(scores_of(Stage.RESPONSE, score), Stage.RESPONSE, Policy(action=action), POINT, "id")


FAILED_CLOSED, FAILED_OPEN = (
    failure(ValueError(), Stage.RESPONSE, Policy(on_error=on_error), "id")
    for on_error in (OnError.BLOCK, OnError.ALLOW)
)

FROM_BEST_TO_WORST = [
    skipped(Stage.RESPONSE),
    judged(0.1),
    judged(0.3),
    judged(0.9, Action.ALLOW),
    FAILED_OPEN,
    judged(0.9, Action.SHADOW),
    judged(0.9, Action.ANNOTATE),
    judged(0.9, Action.REDACT),
    judged(0.5),
    judged(0.9),
    FAILED_CLOSED,
]


@pytest.mark.parametrize(
    ("better", "worse"),
    list(pairwise(FROM_BEST_TO_WORST)),
)
def test_the_worst_verdict_decides(better: Verdict, worse: Verdict) -> None:
    assert worst([better, worse]) is worse
    assert worst([worse, better]) is worse


def test_without_verdicts_there_is_no_worst() -> None:
    with pytest.raises(ValueError, match="empty"):
        worst([])
