"""The one result type of the library.

Standard library only (as the principles are): importing a verdict must never load a runtime.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from medguard.principles import GENERAL_HARM, principle_category

__all__ = ["Action", "Outcome", "Stage", "Verdict", "verdict_note"]


class Stage(StrEnum):
    """Which text was judged."""

    PROMPT = "prompt"
    RESPONSE = "response"


class Outcome(StrEnum):
    """What happened in the guard, apart from what was done about it."""

    PASSED = "passed"
    """Judged, and below every threshold."""
    TRIPPED = "tripped"
    """Judged, and at or above the threshold."""
    FAILED = "failed"
    """Not judged: the guard itself failed. The text is unchecked."""
    SKIPPED = "skipped"
    """Not judged, because the policy excludes this stage or lists the text in ``allow_patterns``."""


class Action(StrEnum):
    """What the policy does about a text."""

    ALLOW = "allow"
    BLOCK = "block"
    REDACT = "redact"
    """Not let through as it is: what tripped of an answer is replaced by the policy's ``redaction``. Whoever
    cannot replace a part of it blocks; a request that trips is blocked always."""
    ANNOTATE = "annotate"
    """Let through with the verdict attached for the caller to act on."""
    SHADOW = "shadow"
    """Let through unchanged; the decision is only recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the guard decided about one text, and why.

    Illegal combinations (a failed guard with a score, a block that is allowed) are refused at
    construction with `ValueError`.
    """

    allowed: bool
    """Whether the text may pass as it is."""
    action: Action
    """What the policy did. ``BLOCK`` or ``REDACT`` exactly when `allowed` is false."""
    outcome: Outcome
    """What the guard found; ``FAILED`` means that nothing was judged."""
    stage: Stage
    """Whether the prompt or the response was judged."""
    score: float | None = None
    """Probability in [0, 1], higher is worse: of a harmful rather than a benign request at the prompt stage,
    of an answer at harmfulness 4 or 5 at the response stage; of the category that tripped where its own
    threshold in the policy decided. None when nothing was judged."""
    threshold: float | None = None
    """The score in [0, 1] at which the guard trips. None when nothing was judged."""
    harmfulness: float | None = None
    """Expected harmfulness of the answer, 1 (declines) to 5 (fully serves the harmful aim). None at
    the prompt stage and when nothing was judged."""
    principles: tuple[float, ...] = ()
    """Probability in [0, 1] of violating each AMA principle, 1 to 9 in order. Empty when not judged."""
    general_harm: float | None = None
    """Probability in [0, 1] of harm outside medicine. None when not judged."""
    principle: int | None = None
    """The principle (1 to 9) most at stake when the guard tripped on medical harm, else None."""
    operating_point: str | None = None
    """Name of the operating point the threshold comes from; None for a threshold set by hand."""
    language: str | None = None
    """ISO 639 code of the language detected; None where the policy lists no languages or the text does not
    tell."""
    classifier_id: str | None = None
    """Identifier of the classifier bundle. None when no classifier was reached."""
    latency_ms: float = 0.0
    """Time spent in the guard on this text, in milliseconds (a batch shares its time evenly)."""
    error: str | None = None
    """Error type and advice when the guard failed, never the text. None otherwise."""

    def __post_init__(self) -> None:
        _require(
            self.allowed == (self.action not in (Action.BLOCK, Action.REDACT)),
            "a text is blocked or redacted exactly when not allowed",
        )
        if self.action is Action.REDACT:
            _require(
                self.outcome is Outcome.TRIPPED and self.stage is Stage.RESPONSE,
                "only an answer that tripped is redacted",
            )
        judged = self.outcome in (Outcome.PASSED, Outcome.TRIPPED)
        _require(judged == (self.score is not None), "a score exists exactly when the text was judged")
        _require(
            judged == (self.threshold is not None), "a threshold exists exactly when the text was judged"
        )
        failed = self.outcome is Outcome.FAILED
        _require(failed == (self.error is not None), "an error is named exactly when the guard failed")
        if not judged:
            _require(
                self.harmfulness is None and self.general_harm is None and not self.principles,
                "harm is scored only when the text was judged",
            )
        if self.outcome is Outcome.TRIPPED and self.score is not None and self.threshold is not None:
            _require(self.score >= self.threshold, "the guard trips at the threshold or above")
        _require(
            self.principle is None or self.outcome is Outcome.TRIPPED,
            "a principle is at stake only when the guard tripped",
        )
        if self.outcome in (Outcome.PASSED, Outcome.SKIPPED):
            _require(self.action is Action.ALLOW, "a text that passed or was skipped is allowed")
        for name, value in (
            ("score", self.score),
            ("threshold", self.threshold),
            ("general_harm", self.general_harm),
        ):
            _require(value is None or 0.0 <= value <= 1.0, f"{name} lies in [0, 1]")
        _require(all(0.0 <= value <= 1.0 for value in self.principles), "principle scores lie in [0, 1]")
        _require(len(self.principles) in (0, 9), "there are nine principle scores or none")
        _require(self.principle is None or 1 <= self.principle <= 9, "a principle is a number from 1 to 9")
        if self.harmfulness is not None:
            _require(1.0 <= self.harmfulness <= 5.0, "harmfulness lies in [1, 5]")
            _require(self.stage is Stage.RESPONSE, "harmfulness belongs to the response stage")
        _require(
            math.isfinite(self.latency_ms) and self.latency_ms >= 0.0, "latency_ms is finite and not negative"
        )

    @property
    def tripped(self) -> bool:
        """The guard judged the text harmful (whatever was then done about it)."""
        return self.outcome is Outcome.TRIPPED

    @property
    def category(self) -> str | None:
        """The policy category (``principle_4``, ``general_harm``) that tripped; None where nothing did."""
        if not self.tripped:
            return None
        return GENERAL_HARM if self.principle is None else principle_category(self.principle)

    @property
    def failed(self) -> bool:
        """The guard could not judge the text."""
        return self.outcome is Outcome.FAILED

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; `from_dict` reverses it."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    def to_json(self) -> str:
        """Return one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Verdict:
        """Rebuild a verdict from `to_dict`.

        Raises:
            ValueError: An unknown or missing field, or an illegal combination.
        """
        if not isinstance(data, dict):
            raise ValueError(f"not a verdict: expected a dict, found {type(data).__name__}")  # noqa: TRY004
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ValueError(f"unknown verdict fields: {', '.join(unknown)}")
        values = dict(data)
        try:
            values["action"] = Action(values["action"])
            values["outcome"] = Outcome(values["outcome"])
            values["stage"] = Stage(values["stage"])
            values["principles"] = tuple(values.get("principles", ()))
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a verdict: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ValueError(f"illegal verdict: {rule}")


def verdict_note(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the verdict that decided, the last, as plain JSON types, with all of them under ``verdicts``."""
    return {**verdicts[-1].to_dict(), "verdicts": [verdict.to_dict() for verdict in verdicts]}
