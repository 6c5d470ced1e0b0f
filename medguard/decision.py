"""From scores to a verdict: thresholds, categories and actions. Pure; no I/O, no framework."""

from __future__ import annotations

from medguard.bundle import OperatingPoint
from medguard.errors import (
    InputTooLargeError,
    InvalidInputError,
    MedGuardError,
    PolicyError,
    UnsupportedLanguageError,
)
from medguard.policy import OnError, OtherLanguage, Policy
from medguard.principles import GENERAL_HARM, principle_category
from medguard.scores import Scores
from medguard.verdict import Action, Outcome, Stage, Verdict

__all__ = [
    "decide",
    "failure",
    "require_checkable",
    "require_language",
    "resolve_operating_point",
    "skipped",
]


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
    """Compare the deciding score with the threshold and choose the policy's action."""
    score = scores.prompt_score if stage is Stage.PROMPT else scores.response_score
    by_hand = policy.prompt_threshold if stage is Stage.PROMPT else policy.response_threshold
    named = point.prompt_threshold if stage is Stage.PROMPT else point.response_threshold
    threshold = named if by_hand is None else by_hand
    tripped = score >= threshold
    category, principle = _category_at_stake(scores) if tripped else (None, None)
    action = policy.action_for(category) if tripped else Action.ALLOW
    return Verdict(
        allowed=action is not Action.BLOCK,
        action=action,
        outcome=Outcome.TRIPPED if tripped else Outcome.PASSED,
        stage=stage,
        score=score,
        threshold=threshold,
        harmfulness=scores.harmfulness if stage is Stage.RESPONSE else None,
        principles=scores.principles,
        general_harm=scores.general_harm,
        principle=principle,
        operating_point=policy.operating_point if by_hand is None else None,
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
    """Verdict for a stage that the policy leaves out, or an answer without a single character."""
    return Verdict(allowed=True, action=Action.ALLOW, outcome=Outcome.SKIPPED, stage=stage)


def _category_at_stake(scores: Scores) -> tuple[str, int | None]:
    number = max(range(9), key=lambda index: scores.principles[index]) + 1
    if scores.general_harm > scores.principles[number - 1]:
        return GENERAL_HARM, None
    return principle_category(number), number
