"""What ``medguard calibrate`` tells: the head of the policy file, the JSON report, the lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medguard.calibration import ASSUMED, NOT_COVERED, FittedThreshold, Recall
from medguard.policy import Policy
from medguard.verdict import Stage

__all__ = ["Fit", "policy_file", "report", "report_lines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What was found at one stage."""

    found: FittedThreshold
    """From distinct benign lines."""
    recall: Recall | None
    """Of distinct harmful lines; None where there are none."""
    scored: str
    """What the scores are of: "single prompts", "conversations", "single prompts and conversations",
    "whole responses" or "streamed responses"."""
    repeated_benign: int
    """Benign lines left out, since an earlier one holds their request too."""
    repeated_harmful: int
    """Harmful lines left out for the same reason."""
    flagged_with_repeats: int
    """How many of all benign lines trip."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found, recall = self.found, self.recall
        return {
            **asdict(found),
            "empirical_fpr": found.empirical_fpr,
            "expected_fpr_bound": found.expected_fpr_bound,
            "scored": self.scored,
            "repeated_benign": self.repeated_benign,
            "repeated_harmful": self.repeated_harmful,
            "flagged_with_repeats": self.flagged_with_repeats,
            "recall": None if recall is None else {**asdict(recall), "rate": recall.rate},
        }


def policy_file(policy: Policy, fits: Mapping[Stage, Fit], classifier_id: str) -> str:
    """Return the policy as YAML, headed by what its thresholds belong to."""
    name = " ".join(classifier_id.split())
    head = [f"# Thresholds fitted by medguard calibrate to classifier {name}; another needs its own."]
    for stage, fit in fits.items():
        found = fit.found
        head.append(
            f"# {stage.value}: false positive rate of distinct {fit.scored} at most {found.target_fpr:g}, "
            f"confidence {found.confidence:g}, from {found.benign} distinct benign lines "
            f"({fit.repeated_benign} repeats left out)."
        )
    return "\n".join([*head, f"# Assumed: {ASSUMED}.", policy.to_yaml()])


def report(fits: Mapping[Stage, Fit], policy: Policy, classifier_id: str) -> dict[str, Any]:
    """Return the report, and the policy in it, as plain JSON types."""
    return {
        "classifier_id": classifier_id,
        "stages": {stage.value: fit.to_dict() for stage, fit in fits.items()},
        "joint_confidence": _joint_confidence(fits),
        "assumed": ASSUMED,
        "not_covered": list(NOT_COVERED),
        "policy": {**policy.model_dump(mode="json"), "stages": sorted(policy.stages)},
    }


def report_lines(fits: Mapping[Stage, Fit]) -> Iterator[str]:
    """Yield the report line by line."""
    for stage, fit in fits.items():
        yield from _stage_lines(stage, fit)
    if len(fits) > 1:
        yield (
            f"Each stage has a guarantee of its own; both hold with probability {_joint_confidence(fits):g} "
            "at least, and then a benign line trips at either at most as often as both rates together."
        )
    yield f"Assumed: {ASSUMED}."
    yield "Not covered:"
    for gap in NOT_COVERED:
        yield f"  - {gap}"


def _joint_confidence(fits: Mapping[Stage, Fit]) -> float:
    """Probability with which all stages keep their rate at least, however they depend on each other."""
    return max(1.0 - sum(1.0 - fit.found.confidence for fit in fits.values()), 0.0)


def _stage_lines(stage: Stage, fit: Fit) -> Iterator[str]:
    found, recall = fit.found, fit.recall
    yield f"{stage.value} threshold {found.threshold:.6g}, for {fit.scored}"
    yield (
        f"  guarantee    with probability {found.confidence:g} over the draw of the {found.benign} distinct "
        f"benign lines, at most {_percent(found.target_fpr)} of future distinct benign {fit.scored} like "
        "them trip"
    )
    yield (
        f"  on average   over all such draws, at most {_percent(found.expected_fpr_bound)} trip "
        f"(({found.allowed} + 1) / ({found.benign} + 1))"
    )
    yield f"  these lines  {found.flagged} of {found.benign} trip ({_percent(found.empirical_fpr)})"
    yield f"  repeats      {_repeats(fit)}"
    yield (
        f"  upper bound  {_percent(found.fpr_upper_bound)} at confidence {found.confidence:g} "
        f"(Clopper-Pearson, {found.allowed} of {found.benign})"
    )
    if recall is not None:
        yield (
            f"  recall       {recall.caught} of {recall.harmful} harmful lines trip "
            f"({_percent(recall.rate)}), {fit.repeated_harmful} repeats left out; of lines like them at "
            f"least {_percent(recall.lower_bound)} at confidence {found.confidence:g}"
        )
    if found.tied > 1:
        yield f"  ties         {found.tied} benign lines share the highest score that passes; all pass"


def _repeats(fit: Fit) -> str:
    """What was left out of the bound and, where anything was, how many lines trip with it."""
    left_out = (
        f"{fit.repeated_benign} benign lines left out, since they repeat the request of an earlier one "
        "up to case, punctuation and space"
    )
    if not fit.repeated_benign:
        return left_out
    everything = fit.found.benign + fit.repeated_benign
    share = _percent(fit.flagged_with_repeats / everything)
    return f"{left_out}; with them {fit.flagged_with_repeats} of {everything} trip ({share})"


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g}%"
