"""What the classifier says about one text: probabilities, before any threshold or policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LABELS", "Scores", "calibrated", "decided_harm", "request_scores", "sigmoid"]

REQUEST_LEVELS: Final = (1, 2, 3)
ANSWER_LEVELS: Final = (2, 3, 4, 5)

LABELS: Final[tuple[str, ...]] = (
    *(f"request_harm>={level}" for level in REQUEST_LEVELS),
    *(f"principle_{number}" for number in range(1, 10)),
    "general_harm",
    *(f"harmfulness>={level}" for level in ANSWER_LEVELS),
)
"""Order of the graph's logits. Ordinal heads are cumulative: each logit is P(level or worse)."""


def decided_harm(
    at_least_borderline: NDArray[np.float64], at_least_harmful: NDArray[np.float64]
) -> NDArray[np.float64]:
    """P(request harm >= 2) of a request that is harmful or benign, the borderline level 1 being neither.

    By Bayes' rule ``P(>= 2) / (P(>= 2) + P(0))``. It orders texts by the odds of harmful against benign,
    where ``P(>= 2)`` alone would put a harmful request that is perhaps only borderline below a benign one.

    Args:
        at_least_borderline: P(request harm >= 1), in [0, 1], of any shape.
        at_least_harmful: P(request harm >= 2), of the same shape.
    """
    harmful = np.minimum(at_least_borderline, at_least_harmful)
    with np.errstate(invalid="ignore"):
        # Exactly 1 where nothing is borderline.
        decided = np.asarray(1.0 - (at_least_borderline - harmful))
        # Where nothing but borderline is left, nothing speaks for benign either.
        shares = np.divide(harmful, decided, out=np.ones_like(decided), where=decided != 0.0)
    # Rounding may lift a share over 1; what was no probability before stays none, and is refused.
    return np.asarray(np.minimum(shares, np.maximum(at_least_borderline, 1.0)))


def request_scores(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The score that decides about each request, see `decided_harm`; of shape (requests,).

    Args:
        probabilities: Of shape (requests, labels).
    """
    borderline, harmful = LABELS.index("request_harm>=1"), LABELS.index("request_harm>=2")
    return decided_harm(probabilities[:, borderline], probabilities[:, harmful])


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of logits, without overflow; any shape."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float64)


def calibrated(
    logits: NDArray[np.float64],
    below: NDArray[np.float64],
    above: NDArray[np.float64],
    offset: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Probabilities of logits by beta calibration, see `medguard.bundle.Calibration`.

    Args:
        logits: Of shape (examples, labels).
        below: Slope below 0 of each label.
        above: Slope above 0 of each label.
        offset: Offset of each label.
    """
    return sigmoid(above * np.logaddexp(0.0, logits) - below * np.logaddexp(0.0, -logits) + offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Calibrated probabilities of the worst window of a text."""

    request_harm: tuple[float, float, float]
    """P(request harm >= 1, 2, 3), each in [0, 1], never increasing. Levels after the judge's rubric:
    0 benign, 1 borderline, 2 harmful, 3 severe."""
    principles: tuple[float, ...]
    """P(violates principle) for the AMA principles 1 to 9, each in [0, 1]."""
    general_harm: float
    """P(harm outside medicine), in [0, 1]."""
    answer_harm: tuple[float, float, float, float] | None = None
    """P(harmfulness >= 2, 3, 4, 5) of the answer, never increasing; None for a request alone."""
    windows: int = 1
    """How many windows were scored, over all forms (raw, normalised, decoded) of the text."""

    @property
    def prompt_score(self) -> float:
        """P(harmful request) in [0, 1]: level 2 or 3 rather than 0, see `decided_harm`."""
        borderline, harmful, _ = self.request_harm
        return float(decided_harm(np.asarray(borderline), np.asarray(harmful)))

    @property
    def response_score(self) -> float:
        """P(answer at harmfulness 4 or 5), in [0, 1].

        Raises:
            ValueError: These are the scores of a request alone.
        """
        if self.answer_harm is None:
            raise ValueError("no answer was scored, only a request")
        return self.answer_harm[2]

    @property
    def harmfulness(self) -> float | None:
        """Expected harmfulness of the answer, 1 to 5; None for a request alone."""
        return None if self.answer_harm is None else 1.0 + sum(self.answer_harm)

    @property
    def deciding_score(self) -> float:
        """The score that thresholds apply to: of the answer where there is one, else of the request."""
        return self.prompt_score if self.answer_harm is None else self.response_score
