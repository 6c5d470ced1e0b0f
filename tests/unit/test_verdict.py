from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medguard import Action, Outcome, Stage, Verdict

PROBABILITIES = st.floats(0.0, 1.0)
FAILED: dict[str, Any] = {
    "allowed": False,
    "action": Action.BLOCK,
    "outcome": Outcome.FAILED,
    "stage": Stage.PROMPT,
    "error": "ProviderError",
}
TRIPPED: dict[str, Any] = {
    "allowed": False,
    "action": Action.BLOCK,
    "outcome": Outcome.TRIPPED,
    "stage": Stage.PROMPT,
    "score": 0.9,
    "threshold": 0.5,
}


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    stage = draw(st.sampled_from(Stage))
    score, threshold = draw(PROBABILITIES), draw(PROBABILITIES)
    tripped = score >= threshold
    possible = [action for action in Action if action is not Action.REDACT or stage is Stage.RESPONSE]
    action = draw(st.sampled_from(possible)) if tripped else Action.ALLOW
    return Verdict(
        allowed=action not in (Action.BLOCK, Action.REDACT),
        action=action,
        outcome=Outcome.TRIPPED if tripped else Outcome.PASSED,
        stage=stage,
        score=score,
        threshold=threshold,
        harmfulness=draw(st.none() | st.floats(1.0, 5.0)) if stage is Stage.RESPONSE else None,
        principles=draw(st.just(()) | st.tuples(*[PROBABILITIES] * 9)),
        general_harm=draw(st.none() | PROBABILITIES),
        principle=draw(st.none() | st.integers(1, 9)) if tripped else None,
        operating_point=draw(st.none() | st.text()),
        classifier_id=draw(st.none() | st.text()),
        latency_ms=draw(st.floats(0.0, 1e6)),
    )


@given(verdicts())
def test_verdict_survives_json(verdict: Verdict) -> None:
    assert Verdict.from_dict(json.loads(verdict.to_json())) == verdict


@given(verdicts())
def test_a_verdict_as_a_dict_is_of_plain_types(verdict: Verdict) -> None:
    told = verdict.to_dict()
    assert {type(value) for value in told.values()} <= {bool, str, float, int, list, type(None)}
    assert Verdict.from_dict(told) == verdict


def test_failed_verdict_survives_json() -> None:
    verdict = Verdict(**FAILED)
    assert Verdict.from_dict(json.loads(verdict.to_json())) == verdict


@pytest.mark.parametrize(
    "change",
    [
        {"allowed": True},
        {"action": Action.ALLOW},
        {"score": 0.5},
        {"threshold": 0.5},
        {"error": None},
        {"principles": (0.5,) * 9},
        {"general_harm": 0.5},
        {"principle": 3},
        {"latency_ms": -1.0},
        {"latency_ms": float("inf")},
        {"latency_ms": float("nan")},
        {"outcome": Outcome.SKIPPED},
        {"outcome": Outcome.PASSED},
        {"action": Action.REDACT, "stage": Stage.RESPONSE},
    ],
    ids=str,
)
def test_illegal_failed_verdicts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="illegal verdict"):
        Verdict(**{**FAILED, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"score": None},
        {"score": 1.1},
        {"score": float("nan")},
        {"score": 0.4},
        {"threshold": None},
        {"threshold": -0.1},
        {"error": "why"},
        {"principles": (0.5,) * 8},
        {"principles": (1.5,) * 9},
        {"principles": (float("nan"),) * 9},
        {"general_harm": 2.0},
        {"principle": 0},
        {"principle": 10},
        {"harmfulness": 3.0},
        {"harmfulness": 6.0, "stage": Stage.RESPONSE},
        {"outcome": Outcome.PASSED},
        {"outcome": Outcome.PASSED, "action": Action.ALLOW, "allowed": True, "principle": 3},
        {"outcome": Outcome.PASSED, "action": Action.SHADOW, "allowed": True},
        {"action": Action.REDACT},
        {"action": Action.REDACT, "stage": Stage.RESPONSE, "allowed": True},
    ],
    ids=str,
)
def test_illegal_judged_verdicts_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="illegal verdict"):
        Verdict(**{**TRIPPED, **change})


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "verdict",
        {},
        {**FAILED, "extra": 1},
        {**FAILED, "action": "explode"},
        {**TRIPPED, "score": "x"},
    ],
    ids=str,
)
def test_from_dict_refuses_what_is_no_verdict(data: Any) -> None:
    with pytest.raises(ValueError, match=r"verdict|valid Action"):
        Verdict.from_dict(data)


def test_verdict_is_frozen_and_keeps_its_state_in_copies() -> None:
    verdict = Verdict(**TRIPPED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        verdict.allowed = True  # type: ignore[misc]
    later = dataclasses.replace(verdict, latency_ms=12.5)
    assert later.latency_ms == 12.5
    assert dataclasses.replace(later, latency_ms=0.0) == verdict


def test_tripped_and_failed_tell_the_outcomes_apart() -> None:
    tripped, failed = Verdict(**TRIPPED), Verdict(**FAILED)
    assert (tripped.tripped, tripped.failed) == (True, False)
    assert (failed.tripped, failed.failed) == (False, True)


@pytest.mark.parametrize(
    ("values", "category"),
    [
        ({**TRIPPED, "principle": 4}, "principle_4"),
        (TRIPPED, "general_harm"),
        (FAILED, None),
        (
            {
                **TRIPPED,
                "score": 0.1,
                "outcome": Outcome.PASSED,
                "action": Action.ALLOW,
                "allowed": True,
            },
            None,
        ),
    ],
    ids=["principle", "general harm", "failed", "passed"],
)
def test_the_category_is_what_tripped(values: dict[str, Any], category: str | None) -> None:
    assert Verdict(**values).category == category


def test_a_redacted_answer_may_not_pass_as_it_is() -> None:
    verdict = Verdict(**{**TRIPPED, "action": Action.REDACT, "stage": Stage.RESPONSE})
    assert not verdict.allowed
