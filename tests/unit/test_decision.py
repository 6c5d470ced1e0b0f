from __future__ import annotations

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
)
from medguard.bundle import OperatingPoint
from medguard.decision import decide, failure, require_checkable, resolve_operating_point, skipped
from medguard.errors import InputTooLargeError
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
def test_blocked_exactly_when_the_action_is_block(
    policy: Policy, point: OperatingPoint, stage: Stage, score: float
) -> None:
    verdict = decide(scores_of(stage, score), stage, policy, point, "id")
    assert verdict.allowed == (verdict.action is not Action.BLOCK)
    assert verdict.tripped == (score >= (verdict.threshold or 0.0))
    assert verdict.action is (policy.action if verdict.tripped else Action.ALLOW)


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
