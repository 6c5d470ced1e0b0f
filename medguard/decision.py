"""From scores to a verdict: thresholds, categories and actions. Pure; no I/O, no framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from medguard.bundle import OperatingPoint
from medguard.errors import (
    InputTooLargeError,
    InvalidInputError,
    MedGuardError,
    PolicyError,
    UnsupportedLanguageError,
)
from medguard.policy import OnError, OtherLanguage, Policy
from medguard.principles import GENERAL_HARM, category_names, principle_category, principle_number
from medguard.scores import Scores
from medguard.verdict import Action, Outcome, Stage, Verdict

__all__ = [
    "decide",
    "failure",
    "require_checkable",
    "require_language",
    "resolve_operating_point",
    "skipped",
    "worst",
]

# Higher counts for more where several verdicts or categories compete.
_STRICTNESS: Final = {
    action: rank
    for rank, action in enumerate((Action.ALLOW, Action.SHADOW, Action.ANNOTATE, Action.REDACT, Action.BLOCK))
}
_GRAVITY: Final = {
    outcome: rank
    for rank, outcome in enumerate((Outcome.SKIPPED, Outcome.PASSED, Outcome.TRIPPED, Outcome.FAILED))
}


def require_checkable(text: object, max_chars: int) -> str:
    """Return `text` if it is something a classifier can judge.

    Raises:
        InvalidInputError: Not a string, empty, or not encodable Unicode.
        InputTooLargeError: Longer than `max_chars`.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"the guard checks text: expected str, found {type(text).__name__}")
    if not text.strip():
        raise InvalidInputError("the guard checks text: found an empty one")
    if len(text) > max_chars:
        raise InputTooLargeError(
            f"text of {len(text)} characters is over the policy's max_chars of {max_chars}; "
            "shorten it or raise max_chars"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInputError(
            "text holds lone surrogates and is no valid Unicode; decode it with the right encoding first"
        ) from None
    return text


def require_language(language: str | None, policy: Policy) -> None:
    """Accept a text by the language it was detected in; one that does not tell is accepted.

    Raises:
        UnsupportedLanguageError: The policy lists languages, not this one, and says that it fails.
    """
    if language is None or policy.languages is None or policy.other_languages is OtherLanguage.SCORE:
        return
    if language not in policy.languages:
        listed = ", ".join(sorted(policy.languages))
        raise UnsupportedLanguageError(
            f"text is in language {language!r}, the policy's languages are {listed}"
        )


def resolve_operating_point(policy: Policy, available: dict[str, OperatingPoint]) -> OperatingPoint:
    """Look up the policy's operating point among the bundle's.

    Raises:
        PolicyError: The bundle has no operating point of that name.
    """
    try:
        return available[policy.operating_point]
    except KeyError:
        known = ", ".join(sorted(available))
        raise PolicyError(
            f"operating_point {policy.operating_point!r} is unknown to this bundle; it has {known}"
        ) from None


def decide(
    scores: Scores, stage: Stage, policy: Policy, point: OperatingPoint, classifier_id: str
) -> Verdict:
    """Compare the scores with the thresholds and choose the policy's action.

    A text trips by its score as a whole, by that of a category with a threshold of its own, or by several;
    then the strictest action decides.
    """
    score = scores.prompt_score if stage is Stage.PROMPT else scores.response_score
    by_hand = policy.prompt_threshold if stage is Stage.PROMPT else policy.response_threshold
    named = point.prompt_threshold if stage is Stage.PROMPT else point.response_threshold
    threshold = named if by_hand is None else by_hand
    operating_point = policy.operating_point if by_hand is None else None
    trips = _category_trips(scores, stage, policy)
    if score >= threshold:
        category = _category_at_stake(scores)
        trips.insert(0, _Trip(score, threshold, category, _action(policy, category, stage), operating_point))
    # Of equally strict ones, the first.
    decisive = max(trips, key=lambda trip: _STRICTNESS[trip.action], default=None)
    if decisive is None:
        decisive = _Trip(score, threshold, None, Action.ALLOW, operating_point)
    return Verdict(
        allowed=decisive.action not in (Action.BLOCK, Action.REDACT),
        action=decisive.action,
        outcome=Outcome.TRIPPED if trips else Outcome.PASSED,
        stage=stage,
        score=decisive.score,
        threshold=decisive.threshold,
        harmfulness=scores.harmfulness if stage is Stage.RESPONSE else None,
        principles=scores.principles,
        general_harm=scores.general_harm,
        principle=None if decisive.category is None else principle_number(decisive.category),
        operating_point=decisive.operating_point,
        classifier_id=classifier_id,
    )


def failure(error: Exception, stage: Stage, policy: Policy, classifier_id: str | None) -> Verdict:
    """Verdict for a text that the guard failed to judge: blocked unless the policy says otherwise.

    The message of an error from outside the library may quote user text, so only its type is kept.
    """
    detail = f": {error}" if isinstance(error, MedGuardError) else ""
    action = Action.ALLOW if policy.on_error is OnError.ALLOW else Action.BLOCK
    return Verdict(
        allowed=action is Action.ALLOW,
        action=action,
        outcome=Outcome.FAILED,
        stage=stage,
        classifier_id=classifier_id,
        error=f"{type(error).__name__}{detail}",
    )


def skipped(stage: Stage) -> Verdict:
    """Verdict for a stage or text that the policy leaves out, or an answer without a single character."""
    return Verdict(allowed=True, action=Action.ALLOW, outcome=Outcome.SKIPPED, stage=stage)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that decides over one text that was judged in several readings or windows.

    The strictest action counts first, so that a failure that is let through never hides a block; then a
    failure before a trip before a pass before a skip; then the higher score.

    Raises:
        ValueError: There are no verdicts.
    """
    return max(
        verdicts,
        key=lambda verdict: (_STRICTNESS[verdict.action], _GRAVITY[verdict.outcome], verdict.score or 0.0),
    )


class _Trip(NamedTuple):
    score: float
    threshold: float
    category: str | None
    action: Action
    operating_point: str | None


def _category_trips(scores: Scores, stage: Stage, policy: Policy) -> list[_Trip]:
    """Trips by thresholds of single categories, the highest score first."""
    values = dict(zip(category_names(), (*scores.principles, scores.general_harm), strict=True))
    trips = [
        _Trip(values[category], threshold, category, _action(policy, category, stage), None)
        for category, threshold in policy.category_thresholds.items()
        if values[category] >= threshold
    ]
    return sorted(trips, key=lambda trip: -trip.score)


def _action(policy: Policy, category: str, stage: Stage) -> Action:
    """The policy's action; no part can be taken out of a request, so there to redact is to block."""
    action = policy.action_for(category)
    return Action.BLOCK if action is Action.REDACT and stage is Stage.PROMPT else action


def _category_at_stake(scores: Scores) -> str:
    number = max(range(9), key=lambda index: scores.principles[index]) + 1
    return GENERAL_HARM if scores.general_harm > scores.principles[number - 1] else principle_category(number)
